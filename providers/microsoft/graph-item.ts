/** What Relay's items in a Microsoft mailbox share: immutable ids, and a property that names the run that created them. Pure. */

/**
 * The id stays when the item moves to another folder, as it does when it is sent: https://learn.microsoft.com/graph/outlook-immutable-id
 */
export const immutableIds = { prefer: 'IdType="ImmutableId"' } as const

/** A named property of ours: the namespace is a random GUID that means nothing else. */
const property = 'String {6a1c3f0e-9d55-4c0b-8f6e-2b7d0a4e91c3} Name relayRun'

export const runProperty = (runId: string) => ({ id: property, value: runId })

/** An OData filter for the items of this run. */
export const runFilter = (runId: string): string =>
  `singleValueExtendedProperties/Any(ep: ep/id eq '${property}' and ep/value eq '${runId}')`
