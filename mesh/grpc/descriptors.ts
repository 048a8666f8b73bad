/** The contracts, read from the descriptor image that `make generate` builds from proto/. */
import { readFileSync } from 'node:fs'
import { type DescExtension, type DescMethod, createFileRegistry, fromBinary, getOption, hasOption } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel } from '@bufbuild/protobuf/wkt'

const image = new URL('../../proto/gen/image.binpb', import.meta.url)

/** Every file of the contracts, with its imports. */
export const descriptorSet = fromBinary(FileDescriptorSetSchema, readFileSync(image))
export const registry = createFileRegistry(descriptorSet)

/** An option of ours or Google's by its full name; the image always contains it. */
export function extension(name: string): DescExtension {
  const found = registry.getExtension(name)
  if (found === undefined) throw new Error(`the descriptor image has no option ${name}`)
  return found
}

const permission = extension('relay.mesh.v1.permission')
const peers = extension('relay.mesh.v1.peers')
const deadline = extension('relay.mesh.v1.deadline_ms')
const open = extension('relay.mesh.v1.open')
const widenedBy = extension('relay.mesh.v1.widened_by')

/** What a contract says about one method. */
export interface Method {
  /** As on the wire: /relay.actions.v1.ActionsService/ListActions. */
  readonly path: string
  /** relay.actions.v1.ActionsService */
  readonly service: string
  readonly name: string
  /** The service of the mesh that the contract belongs to: "actions" for relay.actions.v1; undefined for contracts of others. */
  readonly owner: string | undefined
  readonly descriptor: DescMethod
  /** The permission that a caller needs; undefined if no outside caller may call. */
  readonly permission: string | undefined
  /** The permission that extends the method beyond the caller's own objects. */
  readonly widenedBy: string | undefined
  /** The services that may call; "*" is any. */
  readonly peers: readonly string[]
  /** Anyone may call: the method itself checks the credentials in the request. */
  readonly open: boolean
  /** Maximum time that a caller should wait. */
  readonly deadlineMs: number
  /** Whether it may be repeated when its outcome is unknown. */
  readonly safeToRepeat: boolean
  /** Whether it changes nothing. */
  readonly readOnly: boolean
}

const textOption = (descriptor: DescMethod, option: DescExtension): string | undefined =>
  hasOption(descriptor, option) ? (getOption(descriptor, option) as string) : undefined

function readMethod(descriptor: DescMethod): Method {
  return Object.freeze({
    path: `/${descriptor.parent.typeName}/${descriptor.name}`,
    service: descriptor.parent.typeName,
    name: descriptor.name,
    owner: /^relay\.([a-z0-9]+)\./.exec(descriptor.parent.typeName)?.[1],
    descriptor,
    permission: textOption(descriptor, permission),
    widenedBy: textOption(descriptor, widenedBy),
    peers: getOption(descriptor, peers) as string[],
    open: getOption(descriptor, open) as boolean,
    deadlineMs: (getOption(descriptor, deadline) as number) || 5000,
    readOnly: descriptor.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS,
    safeToRepeat: descriptor.idempotency !== MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN,
  })
}

const ours = [permission, widenedBy, peers, open, deadline]

/** All methods of the mesh's own services by path, and those of the foreign contracts that ours use. */
export const methods: ReadonlyMap<string, Method> = new Map(
  [...registry]
    .flatMap((each) => (each.kind === 'service' ? each.methods : []))
    .filter((descriptor) => descriptor.parent.typeName.startsWith('relay.') || ours.some((option) => hasOption(descriptor, option)))
    .map((descriptor) => readMethod(descriptor))
    .map((method) => [method.path, method]),
)

/** The method of a path, or an error that says what to do: a service cannot serve an undeclared method. */
export function methodOf(path: string): Method {
  const method = methods.get(path)
  if (method === undefined) throw new Error(`no contract declares ${path}: run make generate`)
  if (method.permission === undefined && method.peers.length === 0 && !method.open) {
    const closed = 'no one may call it (proto/relay/mesh/v1/policy.proto)'
    throw new Error(`${path} declares neither a permission nor peers, nor that it is open: ${closed}`)
  }
  return method
}
