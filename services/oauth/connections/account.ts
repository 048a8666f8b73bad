/** Identifies the account of a connection: by the provider's identifier, never by an address, which can change owners. Pure. */

export interface Identity {
  /** The issuer's identifier. */
  readonly issuer?: string | undefined
  /** The account's identifier there; absent if the provider reports none. */
  readonly subject?: string | undefined
}

/** An unknown identifier equals no other. */
export const isSameAccount = (one: Identity, other: Identity): boolean =>
  isKnown(one) && one.issuer === other.issuer && one.subject === other.subject

export const isOtherAccount = (one: Identity, other: Identity): boolean => isKnown(one) && isKnown(other) && !isSameAccount(one, other)

const isKnown = ({ issuer, subject }: Identity): boolean => issuer !== undefined && subject !== undefined
