/** HTML from templates, the only place that escapes. Pure. */

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

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;', '`': '&#96;' }
const escape = (text: string): string => text.replaceAll(/[&<>"'`]/g, (character) => entities[character]!)

export const nothing = html``
