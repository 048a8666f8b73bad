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

/** The same without refusing anything: what is not well-formed or not UTF-8 stays as text, with U+FFFD for what cannot be read. */
export const parseForm = (text: string): [name: string, value: string][] => [...new URLSearchParams(text)]

/** Where people put keys by mistake. */
const keyName = /(?:^|&)(?:api_?key|key|access_token|token)=/i

/** Whether somebody put a key where logs and histories keep it. */
export const holdsKey = (text: string): boolean => text !== '' && keyName.test(text)

/** Whether one of ours stands there, whatever the parameter is called: of other parameters a browser was sent here with, nothing is known. */
export const showsKey = (text: string): boolean =>
  text.includes('rly_') && parseForm(text).some(([, value]) => parseApiKey(value) !== undefined)

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw errors.INVALID_URL({ cause })
  }
}
