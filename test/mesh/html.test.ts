import { expect, test } from 'vitest'
import { html, nothing } from '#mesh/html.ts'

test('a value is escaped, for text and for quoted attributes', () => {
  expect(html`<a title="${`<b> & "c" 'd' \``}">${1}</a>`.html).toBe('<a title="&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; &#96;">1</a>')
})

test('HTML stands in HTML as it is, alone or as a list', () => {
  const items = ['<', '>'].map((text) => html`<li>${text}</li>`)
  expect(html`<ul>${items}</ul>${nothing}${html`<br>`}`.html).toBe('<ul><li>&lt;</li><li>&gt;</li></ul><br>')
})
