/**
 * The one entry point to the contracts: `node proto/contracts.ts generate | check | lint | breaking [ref]`.
 *
 * buf wants everything under one folder, and Google's files live in node_modules; so each command first stages a folder
 * (.cache/proto) with our contracts, our wire-compatible imports, and Google's, and runs buf there.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { commentsOf } from './comments.ts'
import { errorTables, reasonsOf, withReasons } from './reasons.ts'

const root = join(import.meta.dirname, '..')
const cache = join(root, '.cache')
const generated = join(root, 'proto/gen')
const errorsPage = join(root, 'docs/errors.md')
const reasons = reasonsOf(await errorTables())
const googleapis = join(root, 'node_modules/@grpc/grpc-js-xds/deps/googleapis')
const googleFiles = [
  'google/api/annotations.proto',
  'google/api/http.proto',
  'google/api/httpbody.proto',
  'google/rpc/error_details.proto',
  'google/rpc/status.proto',
]

/** Lays out the contracts of a `proto/` folder so that buf finds every import. */
function stage(proto: string, name: string): string {
  const folder = join(cache, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  cpSync(join(proto, 'relay'), join(folder, 'contracts/relay'), { recursive: true })
  cpSync(join(proto, 'imports'), join(folder, 'imports'), { recursive: true })
  for (const file of googleFiles) {
    mkdirSync(dirname(join(folder, 'imports', file)), { recursive: true })
    cpSync(join(googleapis, file), join(folder, 'imports', file))
  }
  for (const file of ['buf.yaml', 'buf.gen.yaml']) cpSync(join(proto, file), join(folder, file))
  return folder
}

function buf(folder: string, ...args: string[]): void {
  const bin = join(root, 'node_modules/.bin')
  execFileSync(join(bin, 'buf'), args, {
    cwd: folder,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  })
}

/** The content of proto/gen: TypeScript for services, the image that the rest is derived from, and the reasons of the error tables. */
function generateInto(out: string): void {
  const folder = stage(join(root, 'proto'), 'proto')
  buf(folder, 'generate')
  rmSync(out, { recursive: true, force: true })
  cpSync(join(folder, 'gen'), out, { recursive: true })
  buf(folder, 'build', '--as-file-descriptor-set', '--exclude-source-info', '-o', join(out, 'image.binpb'))
  const commented = join(folder, 'commented.binpb')
  buf(folder, 'build', '--as-file-descriptor-set', '-o', commented)
  writeFileSync(join(out, 'comments.json'), `${JSON.stringify(commentsOf(readFileSync(commented)), null, 2)}\n`)
  writeFileSync(join(out, 'reasons.json'), `${JSON.stringify(reasons, null, 2)}\n`)
}

function filesUnder(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}

/** The page of errors as the error tables make it now. */
const freshErrorsPage = () => withReasons(readFileSync(errorsPage, 'utf8'), reasons)

/** Fails when the checked-in files are not what the contracts and error tables generate now. */
function check(): void {
  const fresh = join(cache, 'gen')
  generateInto(fresh)
  const stale = [...new Set([...filesUnder(fresh), ...filesUnder(generated)])].filter((file) => {
    const [a, b] = [join(fresh, file), join(generated, file)]
    return !existsSync(a) || !existsSync(b) || !readFileSync(a).equals(readFileSync(b))
  })
  if (stale.length > 0) {
    throw new Error(`proto/gen is not what the contracts and error tables generate (run \`make generate\`):\n  ${stale.join('\n  ')}`)
  }
  if (readFileSync(errorsPage, 'utf8') !== freshErrorsPage())
    throw new Error('docs/errors.md does not list the reasons of the error tables (run `make generate`)')
}

/** Compares with the contracts of a git ref: by default the main branch's, where one is known. */
function breaking(ref: string | undefined): void {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] })
  const against = [ref, 'origin/main', 'main', 'HEAD'].find((candidate) => {
    if (candidate === undefined) return false
    try {
      return git('ls-tree', candidate, 'proto/relay').length > 0
    } catch {
      return false
    }
  })
  if (against === undefined) {
    console.log('buf breaking: no earlier contracts to compare with')
    return
  }
  mkdirSync(cache, { recursive: true })
  const checkout = mkdtempSync(join(cache, 'ref-'))
  try {
    writeFileSync(join(checkout, 'proto.tar'), git('archive', against, 'proto'))
    execFileSync('tar', ['xf', 'proto.tar'], { cwd: checkout })
    const before = stage(join(checkout, 'proto'), 'proto-before')
    buf(stage(join(root, 'proto'), 'proto'), 'breaking', '--against', before)
  } finally {
    rmSync(checkout, { recursive: true, force: true })
  }
}

const [command, argument] = process.argv.slice(2)
try {
  if (command === 'generate') {
    generateInto(generated)
    writeFileSync(errorsPage, freshErrorsPage())
  } else if (command === 'check') check()
  else if (command === 'lint') buf(stage(join(root, 'proto'), 'proto'), 'lint')
  else if (command === 'breaking') breaking(argument)
  else throw new Error('usage: node proto/contracts.ts generate | check | lint | breaking [git-ref]')
} catch (error) {
  // buf has already said what is wrong.
  if (!(error instanceof Error && 'status' in error)) console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
