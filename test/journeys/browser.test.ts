/** A real browser through consent, once: Chromium as Debian has it, or whichever is on the PATH. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { needs, pathOf } from '../setup/needs.ts'
import { type Journey, journey } from './journey.ts'

const executablePath = pathOf('chromium')
const browserNeeds = { ...needs('chromium'), timeout: 60_000 }

async function launch(executable: string): Promise<Browser> {
  // Browsers ask their makers for this and that: nothing but this machine is there.
  const args = ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
  const browser = await chromium.launch({ executablePath: executable, args })
  onTestFinished(() => browser.close())
  return browser
}

const said = async (page: Page): Promise<string> => `${await page.title()}: ${await page.locator('body').innerText()}`

interface World {
  on: Journey
  context: BrowserContext
  /** Origins that the browser asked. */
  asked: Set<string>
  /** A new link, and the page of the browser that opened it. */
  opened(query?: string): Promise<{ page: Page; startUrl: string }>
}

let harness: Journey
beforeAll(async () => {
  if (executablePath !== undefined) harness = await journey({ sandbox: true })
}, 60_000)
afterAll(() => harness?.end())

async function fixture(): Promise<World> {
  const browser = await launch(executablePath!)
  const context = await browser.newContext()
  const asked = new Set<string>()
  context.on('request', (request) => asked.add(new URL(request.url()).origin))
  return {
    on: harness,
    context,
    asked,
    async opened(query = '') {
      const { start_url: startUrl } = (await harness.api.call('GET', `/oauth/google/authorize${query}`)).body as { start_url: string }
      const page = await context.newPage()
      await page.goto(startUrl)
      return { page, startUrl }
    },
  }
}

const proceed = (page: Page) => page.getByRole('button', { name: 'Continue to Google' }).click()
const choose = (page: Page, email: string) =>
  page
    .locator('form', { has: page.locator(`input[name="email"][value="${email}"]`) })
    .getByRole('button')
    .click()

test(
  'in a browser: a link shows whose it is; its form leads once to consent, bound by a cookie that no script reads, and back to a page that says connected',
  browserNeeds,
  async () => {
    const { context, asked, opened } = await fixture()
    const bindings = async () => (await context.cookies(harness.mesh.gateway)).filter(({ name }) => /^relay-oauth-[0-9a-f]{8}$/.test(name))
    const { page, startUrl } = await opened()
    const shown = await said(page)
    for (const text of ['Workspace\ndefault', 'Actor\n', 'Google', 'Send email as you', 'send you this link']) expect(shown).toContain(text)
    expect(asked).toEqual(new Set([harness.mesh.gateway]))
    expect(await bindings()).toEqual([])

    await proceed(page)
    await page.waitForURL(`${harness.mesh.sandbox}/**`)
    expect(await bindings()).toMatchObject([{ httpOnly: true, sameSite: 'Lax', path: '/', domain: '127.0.0.1' }])

    const other = await context.newPage()
    const answer = await other.goto(startUrl)
    expect([answer?.status(), await said(other)]).toEqual([410, expect.stringContaining('Links like this work once')])
    expect(await other.evaluate('document.cookie')).toBe('')

    await choose(page, 'you@example.com')
    await page.waitForURL(`${harness.mesh.gateway}/**`)
    expect(await said(page)).toMatch(/^Google is connected: [\s\S]*you@example\.com is connected/)
    expect(await bindings()).toEqual([])
    const listed = await harness.api.call('GET', '/oauth/connections')
    expect(listed.body.connections).toMatchObject([{ account: 'you@example.com', status: 'connected' }])

    const again = await page.reload()
    expect([again?.status(), await said(page)]).toEqual([410, expect.stringContaining('This link has expired')])
    expect([...asked].sort()).toEqual([harness.mesh.gateway, harness.mesh.sandbox].sort())
  },
)

test(
  'in a browser: a provider that redirects through other origins, and back at once, is reached from the form all the same',
  browserNeeds,
  async () => {
    const { context, opened } = await fixture()
    const hops: string[] = []
    const hop = createServer((request, response) => {
      hops.push(request.url!)
      response.writeHead(302, { location: new URL(request.url!.slice(1)).href }).end()
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void hop.close())
    await once(hop, 'listening')
    const elsewhere = `http://127.0.0.1:${(hop.address() as AddressInfo).port}`
    const { page } = await opened()
    // As a provider does that signs people in on another host: off to there, and from there to consent.
    await context.route(`${harness.mesh.sandbox}/o/oauth2/v2/auth?*`, async (route) => {
      const url = route.request().url()
      if (hops.length > 0) return route.continue()
      await route.fulfill({ status: 302, headers: { location: `${elsewhere}/${url}` } })
    })
    await proceed(page)
    await page.waitForURL(`${harness.mesh.sandbox}/**`)
    expect(hops).toHaveLength(1)
    await choose(page, 'you@example.com')
    await page.waitForURL(`${harness.mesh.gateway}/**`)
    expect(await said(page)).toContain('is connected')
  },
)

test(
  'in a browser: what looks at a link or at the way back without a person (prefetch, image, frame, fetch, a form of another page) uses nothing up',
  browserNeeds,
  async () => {
    const { context, opened } = await fixture()
    const { page, startUrl } = await opened()
    // A page of somebody else, which tries everything that a page can.
    const evil = createServer((request, response) => {
      const target = new URL(request.url!, 'http://evil').searchParams.get('target')!
      response.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html><title>evil</title>
        <link rel="prefetch" href="${target}"><img src="${target}"><iframe src="${target}"></iframe>
        <script>fetch(${JSON.stringify(target)}, { mode: 'no-cors', credentials: 'include' })</script>
        <script type="speculationrules">{"prerender":[{"urls":[${JSON.stringify(target)}],"eagerness":"immediate"}]}</script>
        <form method="post" action="${target}" target="post"><input name="form_token" value="x"></form>
        <iframe name="post"></iframe><script>document.forms[0].submit()</script>`)
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void evil.close())
    await once(evil, 'listening')
    const attack = async (target: string) => {
      const bad = await context.newPage()
      const responses: number[] = []
      bad.on('response', (response) => void (response.url() === target && responses.push(response.status())))
      await bad.goto(`http://127.0.0.1:${(evil.address() as AddressInfo).port}/?target=${encodeURIComponent(target)}`)
      await expect.poll(() => responses.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
      // 405 where a form is sent to an address that takes none.
      for (const status of responses) expect([403, 405]).toContain(status)
      await bad.close()
    }
    await attack(startUrl)
    // A form of another page, by a navigation of the whole window.
    const bad = await context.newPage()
    await bad.goto(`http://127.0.0.1:${(evil.address() as AddressInfo).port}/?target=about:blank`)
    await bad.evaluate(
      `document.forms[0].target = '_self'; document.forms[0].action = ${JSON.stringify(startUrl)}; document.forms[0].submit()`,
    )
    await bad.waitForURL(startUrl)
    expect(await said(bad)).toMatch(/Nothing was done/)

    await proceed(page)
    await page.waitForURL(`${harness.mesh.sandbox}/**`)
    let back = ''
    await context.route(`${harness.mesh.sandbox}/o/oauth2/v2/auth/callback`, async (route) => {
      back = (await route.fetch({ maxRedirects: 0 })).headers().location!
      await route.fulfill({ status: 200, body: 'on the way' })
    })
    await choose(page, 'you@example.com')
    await expect.poll(() => back).toContain('/oauth/google/callback?')
    await attack(back)
    await page.goto(back)
    expect(await said(page)).toContain('is connected')
  },
)

test('/docs sends calls with the typed key, shows the responses, and contacts no other origin', browserNeeds, async () => {
  const { context, asked } = await fixture()
  const page = await context.newPage()
  const violations: string[] = []
  page.on('console', (message) => message.type() === 'error' && violations.push(message.text()))
  await page.goto(`${harness.mesh.gateway}/docs`)
  const at = (path: string, method: string) =>
    page
      .locator('[data-call]')
      .filter({ has: page.locator(`xpath=self::*[contains(@data-call, '"method":"${method}","path":"${path}"')]`) })
  const list = at('/actions', 'GET')
  await list.getByRole('button', { name: 'Try it' }).click()
  await list.getByRole('button', { name: 'Send' }).click()
  await expect.poll(() => list.locator('output').innerText()).toContain('UNAUTHENTICATED')

  await page.getByLabel('API key').fill(harness.mesh.apiKey)
  await list.getByRole('button', { name: 'Send' }).click()
  await expect.poll(() => list.locator('output').innerText()).toContain('"webhook.save"')
  expect(await list.locator('output').innerText()).toMatch(/^200 OK[\s\S]*x-request-id: [0-9a-f-]{36}/)

  const preview = at('/actions/preview', 'POST')
  await preview.getByRole('button', { name: 'Try it' }).click()
  const params = { url: 'http://127.0.0.1:9/hook', body: { text: '<b>not HTML</b>' } }
  await preview.getByLabel('Body').fill(JSON.stringify({ action: 'webhook.save', params }))
  await preview.getByRole('button', { name: 'Send' }).click()
  await expect.poll(() => preview.locator('output').innerText()).toContain('"preview_id"')
  expect(await preview.locator('output b').count()).toBe(0)

  // A 401 is a console error of Chromium's own; a blocked style, script or request is another.
  expect(violations.filter((text) => !text.includes('401'))).toEqual([])
  expect([...asked]).toEqual([harness.mesh.gateway])
  expect(page.url()).toBe(`${harness.mesh.gateway}/docs`)
})
