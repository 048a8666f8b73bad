import { type DescField, type DescMessage, type DescMethod, ScalarType, getOption, hasOption } from '@bufbuild/protobuf'
import * as validate from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'
import { describe, expect, test } from 'vitest'
import { extension, methods, registry } from '#mesh/grpc/descriptors.ts'
import { expectGolden } from '../golden/golden.ts'

/** google.api.HttpRule as it is read from the image. */
interface HttpRule {
  pattern: { case: string | undefined; value: string }
  body: string
}

const http = extension('google.api.http')
const header = extension('relay.mesh.v1.header')

const routeOf = ({ descriptor }: { descriptor: DescMethod }): string => {
  if (!hasOption(descriptor, http)) return 'not routed'
  const { pattern, body } = getOption(descriptor, http) as HttpRule
  return `${pattern.case?.toUpperCase()} ${pattern.value}${body === '' ? '' : ` body=${body}`}`
}

describe('every method of the contracts', () => {
  test('declares a permission or its peers, or that it is open', () => {
    expect(methods.size).toBeGreaterThan(0)
    for (const { path, permission, peers, open } of methods.values()) {
      expect([permission !== undefined, peers.length > 0, open].filter(Boolean), path).toHaveLength(1)
    }
  })

  test('is routed publicly when callers may call it or a browser is answered a page, and never when it is for peers', () => {
    for (const method of methods.values()) {
      const page = method.open && method.descriptor.output.typeName === 'relay.mesh.v1.Page'
      expect(routeOf(method) === 'not routed', method.path).toBe(method.permission === undefined && !page)
      if (method.permission !== undefined) expect(method.peers, method.path).toEqual([])
    }
  })

  test('has a deadline of its own, and a GET changes nothing but what a browser goes through to connect an account', () => {
    const browsed = ['Authorize', 'Start', 'Callback'].map((name) => `/relay.oauth.v1.OAuthService/${name}`)
    for (const method of methods.values()) {
      expect(hasOption(method.descriptor, extension('relay.mesh.v1.deadline_ms')), method.path).toBe(true)
      if (routeOf(method).startsWith('GET')) expect(method.safeToRepeat, method.path).toBe(!browsed.includes(method.path))
    }
  })

  test('is in the golden table with who may call it, for how long, how often and by which route', () => {
    const rows = [...methods.values()]
      .sort((one, other) => (one.path < other.path ? -1 : 1))
      .map((method) => {
        const wider = method.widenedBy === undefined ? '' : `, widened by ${method.widenedBy}`
        const callers = method.permission === undefined ? `peers ${method.peers.join(',')}` : `permission ${method.permission}${wider}`
        const who = method.open ? 'open' : callers
        return [method.path, who, `${method.deadlineMs} ms`, method.safeToRepeat ? 'repeatable' : 'once', routeOf(method)].join(' | ')
      })
    expectGolden('rpc-policy.txt', `${rows.join('\n')}\n`)
  })
})

test('a header fills only text fields of requests, and no two fields', () => {
  const filled = [...methods.values()].flatMap(({ descriptor }) => descriptor.input.fields.filter((field) => hasOption(field, header)))
  expect(filled.length).toBeGreaterThan(0)
  for (const field of filled) expect(field.scalar, field.name).toBe(ScalarType.STRING)
  const names = filled.map((field) => `${field.parent.typeName} ${String(getOption(field, header)).toLowerCase()}`)
  expect(new Set(names).size).toBe(names.length)
})

describe('our part of buf.validate', () => {
  const ours = [...registry].filter((each): each is DescMessage => each.kind === 'message' && each.file.name === 'buf/validate/validate')
  const theirs = new Map(validate.file_buf_validate_validate.messages.map((message) => [message.typeName, message]))
  /** What decides how a field is read from bytes, and which rule it then is. */
  const wire = (field: DescField | undefined) =>
    field && {
      name: field.name,
      number: field.number,
      kind: field.fieldKind,
      of: field.fieldKind === 'list' ? field.listKind : undefined,
      scalar: field.scalar,
      message: field.message?.typeName,
    }

  test('is compared with the whole', () => {
    expect(ours.map(({ typeName }) => typeName)).toContain('buf.validate.FieldRules')
    expect(theirs.size).toBeGreaterThan(ours.length)
  })

  test.each(ours.map((message) => [message.typeName, message] as const))(
    '%s has the numbers and types of the original',
    (typeName, message) => {
      expect(message.fields.length).toBeGreaterThan(0)
      for (const field of message.fields) {
        expect(wire(field), field.name).toEqual(wire(theirs.get(typeName)?.fields.find(({ name }) => name === field.name)))
      }
    },
  )

  test('extends fields under the number of the original', () => {
    expect(extension('buf.validate.field').number).toBe(validate.field.number)
  })
})
