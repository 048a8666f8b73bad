/**
 * The next page of a list as a header Link (RFC 8288): the same request with another page_token. Made anew from what the client asked, so
 * that nothing in it can end the URL early.
 *
 * @param url path and query as they came
 */
export function nextPageLink(url: string, pageToken: string): string {
  // The host is never shown: the link is relative.
  const { pathname, searchParams } = new URL(url, 'http://relay')
  searchParams.set('page_token', pageToken)
  return `<${pathname}?${searchParams.toString()}>; rel="next"`
}
