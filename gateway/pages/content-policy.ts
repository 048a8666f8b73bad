/** The Content-Security-Policy of a page. Pure. */
import { createHash } from 'node:crypto'

/**
 * The Content-Security-Policy of a page: it allows the one style and the one script (the texts of their elements), requests of the script to
 * its own origin, and, if `form`, a form to its own origin. It allows no other script, frame, base address or form.
 */
export function contentPolicy(style: string | undefined, { form = false, script }: { form?: boolean; script?: string } = {}): string {
  const styles = style === undefined ? '' : `style-src ${hashSource(style)}; `
  const scripts = script === undefined ? '' : `script-src ${hashSource(script)}; connect-src 'self'; `
  return `default-src 'none'; ${styles}${scripts}base-uri 'none'; form-action ${form ? "'self'" : "'none'"}; frame-ancestors 'none'`
}

/** https://www.w3.org/TR/CSP3/#grammardef-hash-source */
const hashSource = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
