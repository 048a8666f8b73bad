/** HTML from templates, and the content policy of such a page. Pure. */
import { createHash } from 'node:crypto'

/** Text that is inserted into the page without escaping. */
export interface Html {
  readonly html: string
}

/** HTML from a template: values are escaped, unless they are HTML already. */
export function html(parts: TemplateStringsArray, ...values: (string | number | Html | readonly Html[])[]): Html {
  const shown = values.map((value) => {
    if (typeof value === 'object') return 'html' in value ? value.html : value.map((each) => each.html).join('')
    return escape(String(value))
  })
  return { html: parts.map((part, index) => part + (shown[index] ?? '')).join('') }
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => entities[character]!)

export const nothing = html``

/**
 * The Content-Security-Policy of a page: it allows the one style (the text of its element) and, if `form`, a form to its own origin. It
 * allows no script, frame, base address or other form.
 */
export function contentPolicy(style: string | undefined, { form = false }: { form?: boolean } = {}): string {
  // https://www.w3.org/TR/CSP3/#grammardef-hash-source
  const source = style === undefined ? '' : `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; `
  return `default-src 'none'; ${source}base-uri 'none'; form-action ${form ? "'self'" : "'none'"}; frame-ancestors 'none'`
}
