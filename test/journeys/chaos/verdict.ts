/** What callers were told of each key, held against what arrived outside. Pure. */

export type Status = 'success' | 'failed' | 'unknown'

/** One key, from its preview to its end. */
export interface Story {
  /** In the body, the subject or the title of what was sent: by this it is known again outside. */
  readonly nonce: string
  readonly action: string
  /** Whether the preview showed that it is delivered again after a crash. */
  readonly redelivers: boolean
  /** What ended runs said of themselves, each time they were asked for, in that order. */
  readonly told: { readonly runId: string; readonly status: Status; readonly reason: string | undefined }[]
  /** Answers that say that something is wrong with the request, although nothing is: as "404 PREVIEW_INVALID". */
  readonly refusals: string[]
}

/** What may honestly have happened meanwhile. */
export interface Excuses {
  /** A redelivery that was shown may have been made. */
  readonly redelivery: boolean
}

/** A sentence for each thing that was said and is not true; empty where all is well. */
export function untruths(stories: readonly Story[], arrivals: (nonce: string) => number, { redelivery }: Excuses): string[] {
  const keysByRun = new Map<string, string>()
  return stories.flatMap((story) => {
    const { nonce, action, redelivers, told, refusals } = story
    const said: string[] = refusals.map((refusal) => `was refused with ${refusal}`)
    const arrived = arrivals(nonce)
    const last = told.at(-1)
    if (last === undefined) said.push('never got an end')
    else {
      const { status, runId } = last
      const earlier = keysByRun.get(runId)
      if (earlier !== undefined) said.push(`has the run of ${earlier}`)
      keysByRun.set(runId, nonce)
      if (told.some((each) => each.runId !== runId)) said.push('was told of more than one run')
      // Only what was not known may be known later.
      for (const each of told) if (each.status !== 'unknown' && each.status !== status) said.push(`was ${each.status} and is ${status} now`)
      if (status === 'success' && arrived === 0) said.push('succeeded, and nothing arrived')
      if (status === 'failed' && arrived > 0) said.push(`failed (${last.reason}), and arrived`)
    }
    if (arrived > 1 && !(redelivers && redelivery)) said.push(`arrived ${arrived} times (${last?.status} ${last?.reason ?? ''})`)
    return said.map((sentence) => `${action}${redelivers ? ' (redelivers)' : ''} ${last?.runId ?? nonce} ${sentence}`)
  })
}
