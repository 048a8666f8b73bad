/** Gmail's search for drafts by Message-ID, which `emulate` ignores: it lists all drafts. */
import { json, type SandboxResponse, type SandboxRequest } from '../../../deploy/sandbox/http.ts'
import type { Emulators } from '../../../deploy/sandbox/emulators.ts'

interface Draft {
  id: string
  message: { id: string; threadId: string; payload?: { headers: { name: string; value: string }[] } }
}

const byMessageId = /^rfc822msgid:<?([^<>\s]+)>?$/

/** The response to a search for drafts; undefined for all other requests. An unsupported search finds nothing. */
export async function searchDrafts(
  emulators: Pick<Emulators, 'ask'>,
  asked: SandboxRequest,
  email: string,
): Promise<SandboxResponse | undefined> {
  const query = asked.url.searchParams.get('q')
  if (asked.method !== 'GET' || query === null || !asked.url.pathname.endsWith('/drafts')) return undefined
  const ask = async (path: string): Promise<unknown> => {
    const url = new URL(asked.url.pathname + path, asked.url)
    return JSON.parse((await emulators.ask('google', { ...asked, url, body: Buffer.alloc(0) }, email)).body.toString())
  }
  const wanted = byMessageId.exec(query)?.[1]
  const found: Draft[] = []
  for (let page = ''; ;) {
    const list = (await ask(`?maxResults=500${page}`)) as { drafts?: Draft[]; nextPageToken?: string }
    for (const { id } of list.drafts ?? []) {
      const draft = (await ask(`/${id}?format=metadata`)) as Draft
      const isOne = draft.message.payload?.headers.some(({ name, value }) => name.toLowerCase() === 'message-id' && value === `<${wanted}>`)
      if (isOne === true) found.push({ id, message: { id: draft.message.id, threadId: draft.message.threadId } })
    }
    if (list.nextPageToken === undefined) break
    page = `&pageToken=${list.nextPageToken}`
  }
  const max = Number(asked.url.searchParams.get('maxResults') ?? 100)
  return json(200, { ...(found.length > 0 && { drafts: found.slice(0, max) }), resultSizeEstimate: found.length })
}
