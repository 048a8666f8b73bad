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
      [...inner!.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"\s*\/?>/g)].map(([, name, value]) => [
        name!,
        unescaped(value!),
      ]),
    ),
  }))
}

export interface SentOff {
  /** Of the page, and then of the form. */
  status: number
  /** Where the browser goes on to; empty where it does not. */
  location: string
  cookie: string
  text: string
}

/** A person who opens a start_url and continues from its page: what the browser is then told. */
export async function continueFrom(startUrl: string | URL): Promise<SentOff> {
  const page = await fetch(startUrl, { redirect: 'manual' })
  const shown = await page.text()
  const [form] = formsOf(shown)
  if (form === undefined) return { status: page.status, location: '', cookie: '', text: shown }
  const cookiesOf = (response: Response) => response.headers.getSetCookie().map((each) => each.split(';')[0]!)
  const sent = await fetch(new URL(form.action, startUrl), {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie: cookiesOf(page).join('; ') },
    body: new URLSearchParams(form.fields),
  })
  const location = /^0;url=(.*)$/.exec(sent.headers.get('refresh') ?? '')?.[1] ?? ''
  return { status: sent.status, location, cookie: cookiesOf(sent).join('; '), text: await sent.text() }
}

/** Where the browser is sent after somebody consented at this URL of the sandbox; `edit` changes what the form sends. */
export async function consent(url: string | URL, email: string, edit: Record<string, string> = {}): Promise<Response> {
  const page = await fetch(url, { redirect: 'manual' })
  const text = await page.text()
  const form = formsOf(text).find(({ fields }) => fields.email === email)
  if (form === undefined) throw new Error(`no form for ${email}: ${page.status} ${text.slice(0, 300)}`)
  return fetch(new URL(form.action, url), { method: 'POST', redirect: 'manual', body: new URLSearchParams({ ...form.fields, ...edit }) })
}
