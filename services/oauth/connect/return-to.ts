/** Where a browser may be redirected after connecting: to an origin of the list, and to nothing else that can be written as a URL. */

/** Undefined for everything else. Origins are as browsers write them: `https://studio.example.com`, without a path. */
export function returnUrl(text: string, origins: readonly string[]): URL | undefined {
  // A browser would remove these, or read a backslash as a slash; a person who reads the URL would not.
  if (/[\s\\\p{Cc}]/u.test(text)) return undefined
  const url = URL.parse(text)
  if (url === null || url.username !== '' || url.password !== '') return undefined
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return undefined
  return origins.includes(url.origin) ? url : undefined
}
