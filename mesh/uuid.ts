/** UUIDs in their canonical form (RFC 9562, 4), in either case. Pure. */
const form = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export const isUuid = (text: string): boolean => form.test(text)
