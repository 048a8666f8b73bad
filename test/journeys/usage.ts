/** A bit of everything that a mesh is used for, in a few seconds. */
import type { Api, Reply } from './journey.ts'

/** Ten webhooks to `url`, previewed, executed and looked up, with the list between: what was answered, and how long the longest took. */
export async function use(api: Api, url: string): Promise<{ replies: Reply[]; longestMs: number }> {
  let longestMs = 0
  const timed = async (asking: () => Promise<Reply>): Promise<Reply> => {
    const began = performance.now()
    const reply = await asking()
    longestMs = Math.max(longestMs, performance.now() - began)
    return reply
  }
  const once = async (): Promise<Reply[]> => {
    const shown = await timed(() => api.preview(url))
    const executed = await timed(() => api.execute(shown.body.preview_id as string))
    return [shown, executed, await timed(() => api.run(executed.body.run_id as string)), await timed(() => api.list())]
  }
  const replies: Reply[] = []
  for (let round = 0; round < 5; round += 1) replies.push(...(await Promise.all([once(), once()])).flat())
  return { replies, longestMs }
}

export const isExecuted = ({ body }: Reply): boolean => body.duration_ms !== undefined && body.run_id !== undefined
export const statuses = (replies: readonly Reply[]) => [...new Set(replies.map(({ status }) => status))]
