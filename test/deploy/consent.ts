/** A person who consents, without a browser: takes the form of an account on the sandbox's page and sends it as it is. */
const entities: Record<string, string> = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'" }
const unescaped = (text: string): string => text.replace(/&(?:amp|lt|gt|quot|#39);/g, (each) => entities[each]!)

export interface Form {
  action: string
  fields: Record<string, string>
}

/** The forms of a page, each with its hidden fields. */
export function formsOf(page: string): Form[] {
  return [...page.matchAll(/<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g)].map(([, action, inner]) => ({
    action: unescaped(action!),
    fields: Object.fromEntries(
      [...inner!.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"\/>/g)].map(([, name, value]) => [name!, unescaped(value!)]),
    ),
  }))
}

/** Where the browser is sent after somebody consented at this URL of the sandbox; `edit` changes what the form sends. */
export async function consent(url: string | URL, email: string, edit: Record<string, string> = {}): Promise<Response> {
  const page = await fetch(url, { redirect: 'manual' })
  const text = await page.text()
  const form = formsOf(text).find(({ fields }) => fields.email === email)
  if (form === undefined) throw new Error(`no form for ${email}: ${page.status} ${text.slice(0, 300)}`)
  return fetch(new URL(form.action, url), { method: 'POST', redirect: 'manual', body: new URLSearchParams({ ...form.fields, ...edit }) })
}
