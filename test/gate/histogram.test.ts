import fc from 'fast-check'
import { expect, test } from 'vitest'
import { percentile } from '../../measure/statistics.ts'
import { type Histogram, between, countOf, histogramOf, quantile, sum } from '../../gate/histogram.ts'

const bounds = [0.001, 0.01, 0.05, 0.1, 1.2, 5]
const values = fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1 })
const share = fc.constantFrom(0.5, 0.9, 0.95, 0.99, 1)

const observed = (all: readonly number[]): Histogram =>
  [...bounds, Infinity].map((le) => ({ le, count: all.filter((value) => value <= le).length }))
const asSeries = (histogram: Histogram, path: string) =>
  histogram.map(({ le, count }) => {
    return { name: 'seconds_bucket', labels: { path, le: le === Infinity ? '+Inf' : String(le) }, value: count }
  })

test('a quantile lies in the bucket of the true one, and is within a bound exactly when the true one is', () => {
  fc.assert(
    fc.property(values, share, (all, at) => {
      const truth = percentile(Float64Array.from(all).sort(), at)
      const found = quantile(observed(all), at)
      for (const bound of bounds) expect(found <= bound, `${found} and ${truth} against ${bound}`).toBe(truth <= bound)
    }),
  )
})

test('what came between two looks is what was observed between them, whatever was there before', () => {
  fc.assert(
    fc.property(values, values, (before, meanwhile) => {
      expect(between(observed(before), observed([...before, ...meanwhile]))).toEqual(observed(meanwhile))
    }),
  )
})

test('a histogram is the sum of its wanted series, and of those of all processes', () => {
  fc.assert(
    fc.property(values, values, values, (a, b, other) => {
      const series = [...asSeries(observed(a), '/a'), ...asSeries(observed(other), '/c'), ...asSeries(observed(b), '/b')]
      const found = histogramOf(series, 'seconds', ({ path }) => path !== '/c')
      expect(found).toEqual(observed([...a, ...b]))
      expect(sum([observed(a), observed(b)])).toEqual(found)
      expect(countOf(found)).toBe(a.length + b.length)
    }),
  )
})

test('nothing has no quantile', () => {
  expect(quantile([], 0.99)).toBeNaN()
  expect(quantile(observed([]), 0.99)).toBeNaN()
})
