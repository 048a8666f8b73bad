/** Names whose values are secrets. Pure. */

const words = [
  'authorization',
  'bearer',
  'cookies?',
  'pwds?',
  'passw(?:or)?ds?',
  'passcodes?',
  'passphrases?',
  'secrets?',
  'tokens?',
  't?otp',
  'signature',
  'credentials?',
  '(?:api|access|private|signing|client)[-_]?keys?',
  'private[-_]?key[-_]?pem',
]
/** Whole words at the end of a name: `api_key` and `accessToken` are secrets, `monkey` and `token_count` are not. */
const secretEnd = new RegExp(`(?:^|[^a-z])(?:${words.join('|')})$`, 'i')
const secretStart = /^x[-_]?auth(?![a-z])/i
/** The same for parameters of a URL, whose names are shorter. */
const secretParameter = /(?:^|[^a-z])(?:sig|key|auth|code|jwt|hmac)$/i

const minLength = 3
/** Only this much of either end of a name is read, so that a long name costs no more than a short one. No word is as long. */
const maxEnd = 64

export const isSecretName = (name: string): boolean =>
  name.length >= minLength && (secretEnd.test(endOf(name)) || secretStart.test(separated(name.slice(0, maxEnd))))

export function isSecretParameter(name: string): boolean {
  if (name.length < minLength) return false
  const decoded = name.includes('%') ? decodedEnd(name) : name
  return isSecretName(decoded) || secretParameter.test(endOf(decoded))
}

/** password2 and user[password] are passwords. */
const endOf = (name: string): string => separated(name.slice(-maxEnd).replace(/[^a-z]+$/i, ''))
/** accessToken is access-Token. */
const separated = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1-$2')

const decodedEnd = (name: string): string =>
  name.slice(-3 * maxEnd).replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
