import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  importViolations,
  importsOf,
  loneMeshFiles,
  longFiles,
  misplacedTests,
  missingFiles,
  namelessPaths,
  processViolations,
  providerViolations,
} from './fixtures/architecture.ts'

const root = join(import.meta.dirname, '..')
const folders = ['bench', 'deploy', 'gate', 'gateway', 'measure', 'mesh', 'proto', 'providers', 'services', 'test']
const paths = folders.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .filter((path) => !path.includes('node_modules/')),
)
const sources = new Map(paths.filter((path) => path.endsWith('.ts')).map((path) => [path, readFileSync(join(root, path), 'utf8')]))

describe('the repository', () => {
  test('is looked at: every part has files', () => {
    for (const folder of folders)
      expect(
        paths.some((path) => path.startsWith(`${folder}/`)),
        folder,
      ).toBe(true)
    expect([...sources].flatMap(([path, text]) => importsOf(path, text)).length).toBeGreaterThan(300)
  })

  test('imports only what CONTRIBUTING.md allows (rules 1 to 5)', () => {
    expect(importViolations(sources)).toEqual([])
  })

  test('has in mesh/ only what two processes need (rule 6)', () => {
    expect(loneMeshFiles(sources)).toEqual([])
  })

  test('reads the environment and ends a process in one place each (rule 7)', () => {
    expect(processViolations(sources)).toEqual([])
  })

  test('has the same roles in every service', () => {
    expect(missingFiles(paths)).toEqual([])
  })

  test('has providers as folders whose facets are apart (rule 8)', () => {
    expect(providerViolations(sources)).toEqual([])
  })

  test('has each test that is named after a source file at the path of that file', () => {
    expect(misplacedTests(paths)).toEqual([])
  })

  test('has no file that is too long, and none whose name says nothing', () => {
    expect(longFiles(sources)).toEqual([])
    expect(namelessPaths(paths)).toEqual([])
  })
})

describe('the rules find', () => {
  const found = (path: string, text: string) => importViolations(new Map([[path, text]]))

  test.each([
    ['proto/gen/a.ts', `import { x } from '../../mesh/errors.ts'`],
    ['mesh/a.ts', `import { x } from '../services/actions/run.ts'`],
    ['mesh/a.ts', `import type { X } from '../gateway/app.ts'`],
    ['mesh/a.ts', `import { x } from '../test/fakes/receiver.ts'`],
    ['services/actions/a.ts', `import { x } from '../idempotency/claim.ts'`],
    ['services/actions/a.ts', `import { x } from '../../mesh/errors.ts'`],
    ['services/actions/a.ts', `import { x } from '../../gateway/app.ts'`],
    ['gateway/a.ts', `import { x } from '../services/actions/run.ts'`],
    ['gateway/studio/a.ts', `import { x } from '#mesh/errors.ts'`],
    ['gateway/studio/a.ts', `import { x } from '../app.ts'`],
    ['services/actions/runs/execute.ts', `import { x } from './store.postgres.ts'`],
    ['services/actions/service.ts', `import { x } from './store.memory.ts'`],
    ['services/actions/runs/execute.ts', `import { x } from './claims.grpc.ts'`],
    ['services/actions/runs/execute.ts', `import { x } from '#gen/relay/actions/v1/actions.ts'`],
    ['services/actions/runs/execute.ts', `import { x } from '#mesh/grpc/client.ts'`],
    ['services/actions/runs/execute.ts', `import { x } from '#mesh/postgres/database.ts'`],
    ['services/actions/runs/execute.ts', `import { config } from './config.ts'`],
    ['services/actions/store.postgres.ts', `import { x } from './service.ts'`],
    ['services/actions/store.ts', `import { x } from './metrics.ts'`],
    ['services/actions/errors.ts', `import { x } from './run.ts'`],
    ['services/actions/service.ts', `import { Metadata } from '@grpc/grpc-js'`],
    ['gateway/a.ts', `import { Metadata } from '@grpc/grpc-js'`],
    ['gateway/a.ts', `import Redis from 'ioredis'`],
    ['mesh/serve.ts', `import fastify from 'fastify'`],
    ['services/idempotency/claim.ts', `import { Pool } from 'pg'`],
    ['services/idempotency/store.memory.ts', `import { Pool } from 'pg'`],
    ['gateway/a.ts', `import { request } from 'undici'`],
    ['mesh/a.ts', `import { env } from 'node:process'`],
    ['mesh/a.ts', 'const x = await import(name)'],
  ])('that %s may not say %s', (path, text) => {
    expect(found(path, text)).toHaveLength(1)
  })

  test.each([
    ['a type', `import type { X } from '../gateway/app.ts'`],
    ['several lines', `import {\n  one,\n  type Two,\n} from '../gateway/app.ts'`],
    ['an export', `export * from '../gateway/app.ts'`],
    ['names exported', `export { one } from "../gateway/app.ts"`],
    ['for its effect', `import '../gateway/app.ts'`],
    ['later', `const app = await import('../gateway/app.ts')`],
    ['as a type in place', `let app: import('../gateway/app.ts').App`],
    ['behind code', `const a = 1; import b from '../gateway/app.ts'`],
    ['after a comment', `/* it's needed */\nimport b from '../gateway/app.ts'`],
    ['with attributes', `import b from '../gateway/app.ts' with { type: 'json' }`],
  ])('an import however it is written: %s', (_, text) => {
    expect(found('mesh/a.ts', text)).toHaveLength(1)
  })

  test.each([
    ['mesh/a.ts', `import { x } from './b.ts'\nimport { y } from '#gen/c.ts'\nimport fs from 'node:fs'`],
    ['mesh/grpc/a.ts', `import { Metadata } from '@grpc/grpc-js'`],
    [
      'services/actions/runs/execute.ts',
      `import { x } from './store.ts'\nimport { errors } from './errors.ts'\nimport { y } from '#mesh/errors.ts'`,
    ],
    [
      'services/actions/main.ts',
      `import { x } from './store.postgres.ts'\nimport { y } from './claims.grpc.ts'\nimport { z } from '#mesh/serve.ts'`,
    ],
    ['services/actions/store.postgres.ts', `import { Pool } from 'pg'\nimport { x } from './run.ts'`],
    ['services/ratelimit/store.redis.ts', `import { Redis } from 'ioredis'`],
    ['gateway/a.ts', `import fastify from 'fastify'\nimport cors from '@fastify/cors'`],
    ['test/a.ts', `import { x } from '../services/actions/run.ts'\nimport { Pool } from 'pg'`],
    ['mesh/a.ts', `/**\n * import { x } from '../gateway/app.ts'\n */\n// process.env, and import('../gateway/app.ts')`],
  ])('nothing where %s keeps them', (path, text) => {
    expect(found(path, text)).toEqual([])
  })

  test.each([
    ['providers/acme/oauth.ts', `import { x } from './api.ts'`],
    ['providers/acme/oauth.ts', `import { x } from '../../services/actions/adapters/provider-http.ts'`],
    ['providers/acme/create-thing.ts', `import { x } from './sandbox.ts'`],
    ['providers/acme/create-thing.ts', `import { x } from './oauth.ts'`],
    ['providers/acme/create-thing.ts', `import { x } from '../other/errors.ts'`],
    ['providers/acme/create-thing.ts', `import { x } from '../../services/actions/store.ts'`],
    ['providers/list.ts', `import { x } from './acme/index.ts'`],
    ['services/oauth/config.ts', `import { x } from '#providers/acme/oauth.ts'`],
    ['services/oauth/config.ts', `import { x } from '#providers/api.ts'`],
    ['services/actions/config.ts', `import { x } from '#providers/oauth.ts'`],
    ['services/actions/config.ts', `import { x } from '#providers/acme/sandbox.ts'`],
    ['gateway/app.ts', `import { x } from '#providers/list.ts'`],
    ['mesh/errors.ts', `import { x } from '#providers/list.ts'`],
  ])('of providers: that %s may not say %s', (path, text) => {
    expect(providerViolations(new Map([[path, text]]))).toHaveLength(1)
  })

  test('the environment and the end of the process outside their driverFolders, however they are named', () => {
    const names = [
      'process.env.HOME',
      'process?.env',
      `process['env']`,
      'const { env } = process',
      'process.exit(1)',
      'globalThis.process.exit()',
    ]
    for (const text of names) expect(processViolations(new Map([['gateway/a.ts', text]])), text).toHaveLength(1)
    for (const text of ['process.exitCode = 1', 'process.environment', 'subprocess.exit()', '// process.env']) {
      expect(processViolations(new Map([['gateway/a.ts', text]])), text).toEqual([])
    }
    expect(
      processViolations(
        new Map([
          ['mesh/config.ts', 'process.env'],
          ['mesh/serve.ts', 'process.exit(0)'],
          ['bench/a.ts', 'process.env'],
        ]),
      ),
    ).toEqual([])
    expect(processViolations(new Map([['mesh/config.ts', 'process.exit(0)']]))).toHaveLength(1)
  })

  test('what is in mesh/ for one process alone, by way of whatever it imports', () => {
    const lone = loneMeshFiles(
      new Map([
        ['gateway/main.ts', `import './app.ts'\nimport '#mesh/serve.ts'`],
        ['gateway/app.ts', `import '#mesh/lone.ts'`],
        ['services/actions/main.ts', `import '#mesh/serve.ts'`],
        ['services/actions/one.cli.ts', `import '#mesh/program.ts'`],
        ['services/access/other.cli.ts', `import '#mesh/program.ts'`],
        ['mesh/program.ts', ''],
        ['mesh/serve.ts', `import './config.ts'`],
        ['mesh/config.ts', ''],
        ['mesh/lone.ts', `import './deep.ts'`],
        ['mesh/deep.ts', ''],
        ['mesh/redis/script.ts', `import type { Redis } from 'ioredis'`],
        ['mesh/unused.ts', ''],
      ]),
    )
    expect(lone.map((sentence) => sentence.split(' is ')[0])).toEqual(['mesh/lone.ts', 'mesh/deep.ts', 'mesh/unused.ts'])
  })

  test('a test that is named after a source file of its family and stands elsewhere', () => {
    const found = (test: string) =>
      misplacedTests(['mesh/grpc/client.ts', 'mesh/loop.ts', 'services/access/keys/service.ts', 'services/access/audit/service.ts', test])
    for (const test of [
      'mesh/client',
      'mesh/grpc/loop',
      'mesh/postgres/client',
      'services/access/service',
      'services/access/tokens/service',
    ])
      expect(found(`test/${test}.test.ts`), test).toHaveLength(1)
    for (const test of ['mesh/grpc/client', 'mesh/loop', 'services/access/keys/service', 'services/access/audit/service'])
      expect(found(`test/${test}.test.ts`), test).toEqual([])
    // Names of their own, other families, journeys, and what stands beside tests.
    for (const path of [
      'mesh/client-proof.test',
      'gateway/client.test',
      'services/oauth/service.test',
      'journeys/loop.test',
      'mesh/client',
    ])
      expect(found(`test/${path}.ts`), path).toEqual([])
    expect(found('test/mesh/client.test.ts')[0]).toContain('test/mesh/grpc/client.test.ts')
  })

  test('a role that is missing, a long file, a long main.ts, a name that says nothing', () => {
    const all = ['README.md', 'main.ts', 'config.ts', 'service.ts', 'errors.ts', 'metrics.ts', 'store.ts'].map(
      (role) => `services/actions/${role}`,
    )
    expect(missingFiles(all)).toEqual([])
    expect(missingFiles([...all.slice(1), 'services/other/main.ts'])).toContain('services/actions/README.md')
    expect(missingFiles(['services/other/main.ts'])).toHaveLength(6)

    const lines = (count: number) => 'x\n'.repeat(count)
    expect(
      longFiles(
        new Map([
          ['mesh/a.ts', lines(400)],
          ['services/actions/main.ts', lines(69)],
          ['proto/gen/a.ts', lines(999)],
        ]),
      ),
    ).toEqual([])
    expect(
      longFiles(
        new Map([
          ['mesh/a.ts', lines(401)],
          ['services/actions/main.ts', lines(70)],
          ['test/a.ts', lines(401)],
        ]),
      ),
    ).toHaveLength(3)

    expect(namelessPaths(['mesh/utils/a.ts', 'mesh/helpers.ts', 'gateway/types.d.ts', 'test/Common/a.ts', 'mesh/lib/x.sql'])).toHaveLength(
      5,
    )
    expect(namelessPaths(['mesh/library.ts', 'mesh/shared-lock.ts', 'mesh/typestate.ts', 'mesh/utilisation.ts'])).toEqual([])
  })
})
