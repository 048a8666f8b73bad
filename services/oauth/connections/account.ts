/** Whose account a connection is: by what the provider knows it by, never by an address, which can change hands. Pure. */

export interface Identity {
  /** The issuer's identifier, as it names itself. */
  readonly issuer?: string | undefined
  /** The account's own there; absent where the provider does not say. */
  readonly subject?: string | undefined
}

/** What is not known is the same as nothing else. */
export const isSameAccount = (one: Identity, other: Identity): boolean =>
  isKnown(one) && one.issuer === other.issuer && one.subject === other.subject

export const isOtherAccount = (one: Identity, other: Identity): boolean => isKnown(one) && isKnown(other) && !isSameAccount(one, other)

const isKnown = ({ issuer, subject }: Identity): boolean => issuer !== undefined && subject !== undefined
