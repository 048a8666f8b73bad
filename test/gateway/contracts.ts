/** Contracts made up for a test: messages and methods from a few words, as descriptors like those of the image. */
import { type DescMethod, clone, create, createFileRegistry, setExtension } from '@bufbuild/protobuf'
import {
  DescriptorProtoSchema,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MethodDescriptorProtoSchema,
  MethodOptionsSchema,
} from '@bufbuild/protobuf/wkt'
import { type Method, descriptorSet, extension } from '#mesh/grpc/descriptors.ts'

export { Type }

export interface FieldWords {
  type: Type
  /** The full name of a message or enum. */
  of?: string
  list?: boolean
  optional?: boolean
  oneof?: string
}

export interface Rule {
  pattern: { case: string; value: unknown }
  body?: string
  responseBody?: string
  additionalBindings?: Rule[]
}

export interface MethodWords {
  rule?: Rule
  permission?: string
  peers?: string[]
  open?: boolean
  input?: string
  output?: string
}

const field = ([name, words]: [string, FieldWords], index: number, oneofs: readonly string[]): FieldDescriptorProto =>
  create(FieldDescriptorProtoSchema, {
    name,
    jsonName: name.replaceAll(/_([a-z])/g, (_all, letter: string) => letter.toUpperCase()),
    number: index + 1,
    type: words.type,
    label: words.list === true ? Label.REPEATED : Label.OPTIONAL,
    ...(words.of === undefined ? {} : { typeName: `.${words.of}` }),
    ...(words.optional === true ? { proto3Optional: true, oneofIndex: oneofs.indexOf(`_${name}`) } : {}),
    ...(words.oneof === undefined ? {} : { oneofIndex: oneofs.indexOf(words.oneof) }),
  })

/** The methods of a service `relay.test.v1.TestService`. Messages are named relay.test.v1.<name>. */
export function contract(messages: Record<string, Record<string, FieldWords>>, methods: Record<string, MethodWords>): Map<string, Method> {
  const file = create(FileDescriptorProtoSchema, {
    name: 'relay/test/v1/test.proto',
    package: 'relay.test.v1',
    syntax: 'proto3',
    dependency: ['google/protobuf/struct.proto', 'google/protobuf/duration.proto', 'google/api/httpbody.proto', 'relay/mesh/v1/page.proto'],
    messageType: Object.entries<Record<string, FieldWords>>({ Nothing: {}, ...messages }).map(([name, fields]) => {
      const groups = [...new Set(Object.values(fields).flatMap(({ oneof }) => oneof ?? []))]
      // Synthetic oneofs, of optional fields, come after real ones.
      const oneofs = [...groups, ...Object.entries(fields).flatMap(([each, { optional }]) => (optional === true ? [`_${each}`] : []))]
      return create(DescriptorProtoSchema, {
        name,
        field: Object.entries(fields).map((each, index) => field(each, index, oneofs)),
        oneofDecl: oneofs.map((each) => ({ name: each })),
      })
    }),
    enumType: [
      {
        name: 'Colour',
        value: [
          { name: 'COLOUR_UNSPECIFIED', number: 0 },
          { name: 'COLOUR_RED', number: 1 },
        ],
      },
    ],
    service: [
      {
        name: 'TestService',
        method: Object.entries(methods).map(([name, words]) => {
          const options = create(MethodOptionsSchema)
          const http = extension('google.api.http')
          if (words.rule !== undefined) setExtension(options, http, httpRule(words.rule) as never)
          return create(MethodDescriptorProtoSchema, {
            name,
            inputType: `.relay.test.v1.${words.input ?? 'Nothing'}`,
            // A full name is that of another package's message.
            outputType: `.${words.output?.includes('.') === true ? words.output : `relay.test.v1.${words.output ?? 'Nothing'}`}`,
            options,
          })
        }),
      },
    ],
  })
  const set = clone(FileDescriptorSetSchema, descriptorSet)
  set.file.push(file)
  const service = createFileRegistry(set).getService('relay.test.v1.TestService')!
  return new Map(service.methods.map((descriptor) => [descriptor.name, method(descriptor, methods[descriptor.name]!)]))
}

const httpRule = (rule: Rule): unknown =>
  create(extension('google.api.http').message!, { ...rule, additionalBindings: (rule.additionalBindings ?? []).map(httpRule) })

const method = (descriptor: DescMethod, { permission, peers = [], open = false }: MethodWords): Method => ({
  path: `/${descriptor.parent.typeName}/${descriptor.name}`,
  service: descriptor.parent.typeName,
  name: descriptor.name,
  owner: 'test',
  descriptor,
  permission,
  widenedBy: undefined,
  peers,
  open,
  deadlineMs: 5000,
  safeToRepeat: false,
  readOnly: false,
})
