/**
 * Consents without a browser: opens a start_url of Relay, continues from the page there, consents as an account of the sandbox, and returns
 * to Relay, keeping cookies. It visits only Relay and this sandbox.
 */

export interface ConsentRequest {
  startUrl: URL
  /** If none is named, the provider's first account. */
  account?: string | undefined
}

/** The accounts that a consent page offers. */
export type AccountsAt = (page: URL) => readonly { email: string }[]

export interface ConsentResult {
  status: number
  /** Where Relay redirects the browser in the end. */
  location?: string
  /** The last page, as text. */
  page: string
}

export class ConsentError extends Error {
  override readonly name = 'ConsentError'
}

const timeoutMs = 30_000
const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }
const unescaped = (text: string): string => text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => entities[name]!)

/** The text of a page. */
function textOf(html: string): string {
  const body = html.replace(/<(style|script|head)\b[\s\S]*?<\/\1>/gi, ' ').replace(/<[^>]*>/g, ' ')
  return unescaped(body).replace(/\s+/g, ' ').trim()
}

interface Form {
  action: string
  fields: URLSearchParams
}

/** The forms of a page, each with its hidden fields. */
const formsOf = (page: string): Form[] =>
  [...page.matchAll(/<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/g)].map(([, action, inner]) => ({
    action: unescaped(action!),
    fields: new URLSearchParams(
      [...inner!.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"\s*\/?>/g)].map(([, name, value]): [string, string] => [
        name!,
        unescaped(value!),
      ]),
    ),
  }))

/**
 * `relay` and `sandbox` are the origins that it may visit. If Relay asks for consent once more, it consents once more. Throws ConsentError
 * if it is led elsewhere or finds no consent page.
 */
export async function giveConsent(
  { startUrl, account }: ConsentRequest,
  relay: string,
  sandbox: string,
  accounts: AccountsAt,
): Promise<ConsentResult> {
  const first = await consentOnce({ startUrl, account }, relay, sandbox, accounts)
  const onceMore = /href="([^"]*\/oauth\/start\/[^"]*)"/.exec(first.html)?.[1]
  const last =
    onceMore === undefined ? first : await consentOnce({ startUrl: new URL(unescaped(onceMore)), account }, relay, sandbox, accounts)
  const { html, ...visited } = last
  return { ...visited, page: textOf(html) }
}

interface ConsentEnd extends Omit<ConsentResult, 'page'> {
  html: string
}

async function consentOnce(
  { startUrl, account }: ConsentRequest,
  relay: string,
  sandbox: string,
  accounts: AccountsAt,
): Promise<ConsentEnd> {
  const jar = new Map<string, string>()
  const go = async (url: URL, allowed: string, form?: URLSearchParams): Promise<Response> => {
    if (url.origin !== allowed) throw new ConsentError(`${url.origin} is not ${allowed}`)
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { accept: 'text/html', ...(allowed === relay && { cookie }) }
    const sent = form === undefined ? {} : { method: 'POST', body: form }
    const response = await fetch(url, { ...sent, headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
    if (allowed === relay) {
      for (const each of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=;\s]+)=([^;]*)/.exec(each) ?? []
        if (name !== undefined) jar.set(name, value!)
      }
    }
    return response
  }
  const end = async (response: Response): Promise<ConsentEnd> => {
    const location = response.headers.get('location')
    return { status: response.status, ...(location !== null && { location }), html: await response.text() }
  }
  const started = await go(startUrl, relay)
  const shown = await started.text()
  const [continuing] = formsOf(shown)
  if (continuing === undefined) return { status: started.status, html: shown }
  const sent = await go(new URL(continuing.action, startUrl), relay, continuing.fields)
  const toProvider = /^0;url=(.*)$/.exec(sent.headers.get('refresh') ?? '')?.[1]
  if (toProvider === undefined) return end(sent)
  const asked = new URL(toProvider)
  const page = await (await go(asked, sandbox)).text()
  const email = account ?? accounts(asked)[0]!.email
  const found = formsOf(page).find(({ fields }) => fields.get('email') === email)
  if (found === undefined) throw new ConsentError(`there is no account ${email} to consent as: ${textOf(page).slice(0, 300)}`)
  const consented = await go(new URL(found.action, asked), sandbox, found.fields)
  const back = consented.headers.get('location')
  return back === null ? end(consented) : end(await go(new URL(back), relay))
}
