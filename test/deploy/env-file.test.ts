import { parseEnv } from 'node:util'
import { describe, expect, test } from 'vitest'
import { duration, integer, optional, secret, text } from '#mesh/config.ts'
import { envFile } from '../../deploy/env-file.ts'

const level = text('LEVEL', 'Minimum level', { default: 'info' })
const databaseUrl = secret('DATABASE_URL', 'The database')

const file = envFile({
  processes: [
    { name: 'sender', variables: { level, databaseUrl, peer: text('PEER', 'Where the receiver is, as host:port') } },
    { name: 'receiver', variables: { level, limit: integer('LIMIT', 'Requests per minute', { default: '600' }), databaseUrl } },
  ],
  programs: [
    { name: 'remover', besideProcess: 'receiver', variables: { databaseUrl, ageMs: optional(duration('AGE', 'Minimum age')) } },
    {
      name: 'counter',
      variables: { key: secret('KEY', 'The key', { default: 'never-shown' }), long: text('LONG', 'word '.repeat(50).trim()) },
    },
  ],
})
const sections = Object.fromEntries(
  file
    .split('\n### ')
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf('\n')), section.slice(section.indexOf('\n'))]),
)

describe('the file of variables', () => {
  test('says once what every process reads, and of each process what only some read', () => {
    expect(Object.keys(sections)).toEqual(['every process', 'sender', 'receiver', 'remover, beside the variables of receiver', 'counter'])
    expect(sections['every process']).toBe(
      '\n\n# Minimum level (default info)\n#LEVEL=info\n\n# The database (secret, required)\nDATABASE_URL=\n',
    )
    expect(sections.receiver).toBe('\n\n# Requests per minute (default 600)\n#LIMIT=600\n')
  })

  test('names of a program only what its process does not read', () => {
    expect(sections['remover, beside the variables of receiver']).toContain('#AGE=')
    expect(sections['remover, beside the variables of receiver']).not.toContain('DATABASE_URL')
  })

  test('sets only what is required, and nothing to a value', () => {
    expect(parseEnv(file)).toEqual({ DATABASE_URL: '', PEER: '', LONG: '' })
  })

  test('shows no secret, not even a default one', () => {
    expect(sections.counter).toContain('#KEY=\n')
    expect(file).not.toContain('#KEY=never-shown')
  })

  test('has no line that is too long to read', () => {
    expect(Math.max(...file.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120)
  })
})
