/**
 * Server reflection (v1, and v1alpha for older clients), from the descriptor image. (`@grpc/reflection` fails with grpcurl and buf: it
 * rebuilds descriptors and loses options.)
 */
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import { type DescFile, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { type ServerReflectionRequest, type ServerReflectionResponse, ServerReflectionService } from '#gen/grpc/reflection/v1/reflection.ts'
import { ServerReflectionService as ServerReflectionAlphaService } from '#gen/grpc/reflection/v1alpha/reflection.ts'
import { registry } from './descriptors.ts'

const NOT_FOUND = 5
const INVALID_ARGUMENT = 3

/** A file and all of its imports, each once, the requested one first. */
function withImports(file: DescFile, seen = new Set<DescFile>()): Set<DescFile> {
  if (!seen.has(file)) {
    seen.add(file)
    for (const dependency of file.dependencies) withImports(dependency, seen)
  }
  return seen
}

/** The file that declares a type, a service, a method, a field or an enum value. */
function fileOf(symbol: string): DescFile | undefined {
  const found = registry.get(symbol)
  if (found !== undefined) return found.file
  // A member: the name before its last part declares it, if it has such a member.
  const dot = symbol.lastIndexOf('.')
  const parent = registry.get(symbol.slice(0, Math.max(dot, 0)))
  const member = symbol.slice(dot + 1)
  const has =
    (parent?.kind === 'service' && parent.methods.some((each) => each.name === member)) ||
    (parent?.kind === 'message' && [...parent.fields, ...parent.oneofs].some((each) => each.name === member)) ||
    (parent?.kind === 'enum' && parent.values.some((each) => each.name === member))
  return has ? parent?.file : undefined
}

const files = (file: DescFile | undefined, what: string): ServerReflectionResponse['messageResponse'] =>
  file === undefined
    ? { $case: 'errorResponse', value: { errorCode: NOT_FOUND, errorMessage: `${what} is not known here` } }
    : {
        $case: 'fileDescriptorResponse',
        value: { fileDescriptorProto: [...withImports(file)].map((each) => Buffer.from(toBinary(FileDescriptorProtoSchema, each.proto))) },
      }

function answer(request: ServerReflectionRequest, services: readonly string[]): ServerReflectionResponse['messageResponse'] {
  const asked = request.messageRequest
  switch (asked?.$case) {
    case 'listServices':
      return { $case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } }
    case 'fileByFilename':
      return files(registry.getFile(asked.value), asked.value)
    case 'fileContainingSymbol':
      return files(fileOf(asked.value), asked.value)
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = asked.value
      const extendee = registry.getMessage(containingType)
      const found = extendee === undefined ? undefined : registry.getExtensionFor(extendee, extensionNumber)
      return files(found?.file, `extension ${extensionNumber} of ${containingType}`)
    }
    case 'allExtensionNumbersOfType': {
      const numbers = [...registry].flatMap((each) =>
        each.kind === 'extension' && each.extendee.typeName === asked.value ? [each.number] : [],
      )
      return { $case: 'allExtensionNumbersResponse', value: { baseTypeName: asked.value, extensionNumber: numbers } }
    }
    default:
      return { $case: 'errorResponse', value: { errorCode: INVALID_ARGUMENT, errorMessage: 'nothing was asked' } }
  }
}

/** Both versions have one wire format and differ only in name. Streams end when `draining` aborts. */
export function reflectionHandlers(served: readonly string[], draining: AbortSignal) {
  const services = [
    ...served,
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
  ].sort()
  const implementation: UntypedServiceImplementation = {
    serverReflectionInfo(stream: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>) {
      const end = () => stream.end()
      draining.addEventListener('abort', end, { once: true })
      stream.on('cancelled', () => draining.removeEventListener('abort', end))
      stream.on('data', (request: ServerReflectionRequest) =>
        stream.write({ validHost: request.host, originalRequest: request, messageResponse: answer(request, services) }),
      )
      stream.on('end', end)
      stream.on('error', end)
    },
  }
  return [ServerReflectionService, ServerReflectionAlphaService].map((definition) => ({ definition, implementation }))
}
