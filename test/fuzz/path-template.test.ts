import fc from 'fast-check'
import Fastify from 'fastify'
import { describe, expect, test } from 'vitest'
import {
  type PathTemplate,
  type Segment,
  formatPathTemplate,
  parsePathTemplate,
  toRouterPath,
} from '../../gateway/contract/path-template.ts'

const literal = fc.stringMatching(/^[A-Za-z0-9._~!$&'()+,;=@-]{1,8}$/).filter((text) => text !== '.' && text !== '..')
const name = fc.array(fc.stringMatching(/^[a-z][a-z0-9_]{0,5}$/), { minLength: 1, maxLength: 3 })
const segment: fc.Arbitrary<Segment> = fc.oneof(
  literal.map((text) => ({ kind: 'literal' as const, text })),
  name.map((field) => ({ kind: 'one' as const, field })),
  fc.constant({ kind: 'one' as const, field: undefined }),
)
const template: fc.Arbitrary<PathTemplate> = fc
  .record({
    segments: fc.array(segment, { minLength: 1, maxLength: 6 }),
    end: fc.oneof(
      fc.constant(undefined),
      literal,
      fc.constant({ kind: 'rest' as const, field: undefined }),
      name.map((field) => ({ kind: 'rest' as const, field })),
    ),
  })
  .map(({ segments, end }) => ({
    segments: typeof end === 'object' ? [...segments, end] : segments,
    verb: typeof end === 'string' ? end : undefined,
  }))
  .filter(({ segments }) => {
    const names = segments.flatMap((each) => (each.kind === 'literal' || each.field === undefined ? [] : [each.field.join('.')]))
    return new Set(names).size === names.length
  })

describe('path templates', () => {
  test('are read back as they were written', () => {
    fc.assert(
      fc.property(template, (each) => {
        expect(parsePathTemplate(formatPathTemplate(each))).toEqual(each)
      }),
    )
  })

  test('of any text are read, or refused with an error that quotes them', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('/', '{', '}', '*', ':', '=', '.', 'a', '_', ' ') }).map((each) => `/${each}`),
    )
    fc.assert(
      fc.property(text, (each) => {
        try {
          // What is accepted is a template: it reads the same again.
          const parsed = parsePathTemplate(each)
          expect(parsePathTemplate(formatPathTemplate(parsed))).toEqual(parsed)
        } catch (error) {
          expect((error as Error).message).toContain(`the path template ${JSON.stringify(each)} `)
        }
      }),
    )
  })

  test('match the URLs that are made from them, and give back what was put in', async () => {
    const value = fc.string({ minLength: 1, maxLength: 20 }).filter((each) => each !== '.' && each !== '..')
    await fc.assert(
      fc.asyncProperty(template, fc.infiniteStream(value), async (each, values) => {
        const given: Record<string, string> = {}
        const next = (field: readonly string[] | undefined): string => {
          const chosen = values.next().value as string
          if (field !== undefined) given[field.join('.')] = chosen
          return encodeURIComponent(chosen)
        }
        const url = each.segments.map((part) => (part.kind === 'literal' ? part.text : next(part.field))).join('/')
        const { path, variables } = toRouterPath(each)
        const app = Fastify({ routerOptions: { maxParamLength: 1000 } })
        app.get(path, (request) =>
          Object.fromEntries(
            variables.map(({ field, parameter }) => [field.join('.'), (request.params as Record<string, string>)[parameter]]),
          ),
        )
        const response = await app.inject({ url: `/${url}${each.verb === undefined ? '' : `:${each.verb}`}` })
        expect(response.statusCode, `${path} for /${url}`).toBe(200)
        expect(response.json()).toEqual(given)
      }),
      { numRuns: 100 },
    )
  })
})
