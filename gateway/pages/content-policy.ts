/** The Content-Security-Policy of a page. Pure. */
import { createHash } from 'node:crypto'

/**
 * The Content-Security-Policy of a page: it allows the one style (the text of its element) and, if `form`, a form to its own origin. It
 * allows no script, frame, base address or other form.
 */
export function contentPolicy(style: string | undefined, { form = false }: { form?: boolean } = {}): string {
  // https://www.w3.org/TR/CSP3/#grammardef-hash-source
  const source = style === undefined ? '' : `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; `
  return `default-src 'none'; ${source}base-uri 'none'; form-action ${form ? "'self'" : "'none'"}; frame-ancestors 'none'`
}
