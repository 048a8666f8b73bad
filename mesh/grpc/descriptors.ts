/** What the contracts say, read from the descriptor image that `make generate` makes of proto/. */
import { readFileSync } from 'node:fs'
import { type DescExtension, type DescMethod, createFileRegistry, fromBinary, getOption, hasOption } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel } from '@bufbuild/protobuf/wkt'

const image = new URL('../../proto/gen/image.binpb', import.meta.url)

/** Every file of the contracts, with what they import. */
export const descriptorSet = fromBinary(FileDescriptorSetSchema, readFileSync(image))
export const registry = createFileRegistry(descriptorSet)

/** An option of ours or Google's by its full name; the image always has it. */
export function extension(name: string): DescExtension {
  const found = registry.getExtension(name)
  if (found === undefined) throw new Error(`the descriptor image has no option ${name}`)
  return found
}

const permission = extension('relay.mesh.v1.permission')
const peers = extension('relay.mesh.v1.peers')
const deadline = extension('relay.mesh.v1.deadline_ms')

/** What a contract says of one method. */
export interface Method {
  /** As on the wire: /relay.actions.v1.ActionsService/ListActions. */
  readonly path: string
  /** relay.actions.v1.ActionsService */
  readonly service: string
  readonly name: string
  readonly descriptor: DescMethod
  /** What a caller needs; undefined where only peers may call. */
  readonly permission: string | undefined
  /** The services that may call; "*" is any. */
  readonly peers: readonly string[]
  /** The longest a caller should wait. */
  readonly deadlineMs: number
  /** Whether it may be repeated when its outcome is not known. */
  readonly safeToRepeat: boolean
}

function readMethod(descriptor: DescMethod): Method {
  return Object.freeze({
    path: `/${descriptor.parent.typeName}/${descriptor.name}`,
    service: descriptor.parent.typeName,
    name: descriptor.name,
    descriptor,
    permission: hasOption(descriptor, permission) ? (getOption(descriptor, permission) as string) : undefined,
    peers: getOption(descriptor, peers) as string[],
    deadlineMs: (getOption(descriptor, deadline) as number) || 5000,
    safeToRepeat: descriptor.idempotency !== MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN,
  })
}

/** All methods of the mesh's own services by path. */
export const methods: ReadonlyMap<string, Method> = new Map(
  [...registry]
    .filter((each) => each.kind === 'service' && each.typeName.startsWith('relay.'))
    .flatMap((service) => (service.kind === 'service' ? service.methods : []))
    .map((descriptor) => readMethod(descriptor))
    .map((method) => [method.path, method]),
)

/** The method of a path, or an error that names the way out: a service cannot serve what no contract declares. */
export function methodOf(path: string): Method {
  const method = methods.get(path)
  if (method === undefined) throw new Error(`no contract declares ${path}: run make generate`)
  if (method.permission === undefined && method.peers.length === 0) {
    throw new Error(`${path} declares neither a permission nor peers: nobody may call it (proto/relay/mesh/v1/policy.proto)`)
  }
  return method
}
