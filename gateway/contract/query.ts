/** Query strings as names and values, application/x-www-form-urlencoded (https://url.spec.whatwg.org/#urlencoded-parsing), but strict. */
import { parseApiKey } from '#mesh/api-key.ts'
import { errors } from '../errors.ts'

/** Throws INVALID_URL for percent-encoding that is not UTF-8 or not well-formed. */
export function parseQuery(text: string): [name: string, value: string][] {
  if (text === '') return []
  return text
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const equals = part.indexOf('=')
      return equals === -1 ? [decode(part), ''] : [decode(part.slice(0, equals)), decode(part.slice(equals + 1))]
    })
}

/** Like parseQuery, but it rejects nothing: malformed escapes stay as text, and bytes that are not UTF-8 become U+FFFD. */
export const parseForm = (text: string): [name: string, value: string][] => [...new URLSearchParams(text)]

/** Parameter names under which clients put keys by mistake. */
const keyName = /(?:^|&)(?:api_?key|key|access_token|token)=/i

/** Whether a parameter is named like a key. Logs and histories would keep it. */
export const holdsKey = (text: string): boolean => text !== '' && keyName.test(text)

/**
 * Whether the text shows one of Relay's keys, under any parameter name: the other parameters of a browser's URL may come from elsewhere.
 */
export const showsKey = (text: string): boolean =>
  text.includes('rly_') && parseForm(text).some(([, value]) => parseApiKey(value) !== undefined)

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw errors.INVALID_URL({ cause })
  }
}
