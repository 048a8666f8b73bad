/**
 * The name of a service in its certificate: the one URI of the subjectAltName, `spiffe://<trust domain>/<service>`.
 * Source: SPIFFE, X.509-SVID (one URI, never two) and SPIFFE-ID (trust domain and path).
 */

/** A service's name: the part after the trust domain, as contracts list peers. */
const serviceName = /^[a-z][a-z0-9-]{0,31}$/
const trustDomainName = /^[a-z0-9._-]{1,255}$/

export const isTrustDomain = (text: string): boolean => trustDomainName.test(text)

/** What a certificate says about its holder: the service, or why it names none. The problem is a clause for after "the certificate". */
export type PeerName = { service: string; problem?: never } | { service?: never; problem: string }

export interface AlternativeName {
  /** As Node writes it: `URI`, `DNS`, `IP Address`, `DirName` … */
  type: string
  value: string
}

/** One name and its terminator. A value in quotes is JSON: Node quotes every value with a comma, a quote or a control character. */
const oneName = /([A-Za-z0-9 ]+):(?:("(?:[^"\\]|\\.)*")|([^",\\]*))(?:, (?=.)|$)/y

/** The names in Node's text of a subjectAltName; undefined if the text is not entirely one. */
export function alternativeNames(text: string): AlternativeName[] | undefined {
  const names: AlternativeName[] = []
  oneName.lastIndex = 0
  while (oneName.lastIndex < text.length) {
    const match = oneName.exec(text)
    if (match === null) return undefined
    const [, type, quoted, plain] = match
    const value = quoted === undefined ? plain : unquote(quoted)
    if (value === undefined) return undefined
    names.push({ type: type!, value })
  }
  return names
}

function unquote(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted) as string
  } catch {
    return undefined
  }
}

/**
 * The service that a certificate names, by Node's text of its subjectAltName. Nothing is normalised: an ID with another spelling is another
 * one. Names of other types are ignored.
 */
export function namedBy(subjectAltName: string | undefined, trustDomain: string): PeerName {
  const names = alternativeNames(subjectAltName ?? '')
  if (names === undefined) return { problem: 'has a subjectAltName that cannot be read' }
  const uris = names.filter(({ type }) => type === 'URI')
  if (uris.length !== 1) return { problem: `has ${uris.length} URI names where exactly one is wanted` }
  const start = `spiffe://${trustDomain}/`
  const service = uris[0]!.value.slice(start.length)
  if (!uris[0]!.value.startsWith(start) || !serviceName.test(service)) {
    return { problem: `has a URI name that is not ${start}<service>` }
  }
  return { service }
}
