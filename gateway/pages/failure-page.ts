/** The error page for a browser, in place of a problem document: the same sentence, and the request id. Pure. */
import type { MeshError } from '#mesh/errors.ts'
import { html } from '#mesh/html.ts'
import { toProblem } from '#mesh/problem.ts'
import { type PageResponse, pageHeaders } from './page.ts'

const style = `
:root { color-scheme: light dark }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 36rem; margin: 0 auto; padding: 4rem 1.25rem }
code { font: 14px/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
`

export function failurePage(error: MeshError, requestId: string): PageResponse {
  const { status, headers } = toProblem(error, requestId)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>This did not work</title>
<style>${{ html: style }}</style>
</head>
<body>
<h1>This did not work</h1>
<p>${error.message}</p>
<p>Request <code>${requestId}</code></p>
</body>
</html>
`
  const retryAfter = headers['retry-after']
  return {
    status,
    headers: { ...pageHeaders(page.html), ...(retryAfter === undefined ? {} : { 'retry-after': retryAfter }) },
    body: page.html,
  }
}
