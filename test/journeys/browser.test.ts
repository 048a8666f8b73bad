/** A real browser through consent, once: Chromium as Debian has it, or whichever is on the PATH. */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, type Page, chromium } from 'playwright-core'
import { expect, onTestFinished, test } from 'vitest'
import { journey } from './journey.ts'

const names = ['chromium', 'chromium-browser', 'google-chrome']
const folders = (process.env.PATH ?? '').split(delimiter)
const executablePath = names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path))
const reason = executablePath === undefined ? ` (skipped: none of ${names.join(', ')} is on the PATH)` : ''

async function launch(executable: string): Promise<Browser> {
  // Browsers ask their makers for this and that: nothing but this machine is there.
  const args = ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1']
  const browser = await chromium.launch({ executablePath: executable, args })
  onTestFinished(() => browser.close())
  return browser
}

const said = async (page: Page): Promise<string> => `${await page.title()}: ${await page.locator('body').innerText()}`

test.skipIf(executablePath === undefined)(
  `in a browser: the link leads once to consent, bound by a cookie that no script reads, and back to a page that says connected${reason}`,
  async () => {
    const on = await journey({ sandbox: true })
    onTestFinished(() => on.end())
    const browser = await launch(executablePath!)
    const { start_url: startUrl } = (await on.api.call('GET', '/oauth/google/authorize')).body as { start_url: string }
    const context = await browser.newContext()
    const asked = new Set<string>()
    context.on('request', (request) => asked.add(new URL(request.url()).origin))
    const bindings = async () => (await context.cookies(on.mesh.gateway)).filter(({ name }) => name.startsWith('relay-oauth-'))

    const page = await context.newPage()
    await page.goto(startUrl)
    expect(new URL(page.url()).origin).toBe(on.mesh.sandbox)
    expect(await bindings()).toMatchObject([{ httpOnly: true, sameSite: 'Lax', path: '/', domain: '127.0.0.1' }])

    const other = await context.newPage()
    const answer = await other.goto(startUrl)
    expect([answer?.status(), await said(other)]).toEqual([410, expect.stringContaining('Links like this work once')])
    expect(await other.evaluate('document.cookie')).toBe('')

    await page.locator('form', { has: page.locator('input[name="email"][value="you@example.com"]') }).getByRole('button').click()
    await page.waitForURL(`${on.mesh.gateway}/**`)
    expect(await said(page)).toMatch(/^Google is connected: [\s\S]*you@example\.com is connected/)
    expect(await bindings()).toEqual([])
    const listed = await on.api.call('GET', '/oauth/connections')
    expect(listed.body.connections).toMatchObject([{ account: 'you@example.com', status: 'connected' }])

    const again = await page.reload()
    expect([again?.status(), await said(page)]).toEqual([410, expect.stringContaining('This link has ended')])
    expect([...asked].sort()).toEqual([on.mesh.gateway, on.mesh.sandbox].sort())
  },
  60_000,
)
