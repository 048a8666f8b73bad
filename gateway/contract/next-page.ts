/**
 * The next page of a list as a Link header (RFC 8288): the same request with another page_token. The URL is built from the parsed request,
 * so that nothing in it can end the URL early.
 *
 * @param url path and query as they came
 */
export function nextPageLink(url: string, pageToken: string): string {
  // The link is relative, so the host does not appear.
  const { pathname, searchParams } = new URL(url, 'http://relay')
  searchParams.set('page_token', pageToken)
  return `<${pathname}?${searchParams.toString()}>; rel="next"`
}
