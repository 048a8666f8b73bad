/** Text that reads as what it is: nothing in it ends a header, controls a terminal or reorders what is shown. Pure. */
import { z } from 'zod'

/** Controls (including line ends), line separators, and marks that reorder text: with those, `exe.fdp` is shown as `pdf.exe`. */
const unplain = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u

/** Maximum length in UTF-16 units. */
export const plainLine = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.isWellFormed() && !unplain.test(text), 'has line ends, control characters or marks that reorder text')

/** The same, and not blank. */
export const plainName = (max: number) => plainLine(max).refine((text) => text.trim() !== '', 'is empty')

/**
 * Text of another side, as it is stored and shown: lines and tabs stay; every other control character and mark that reorders text becomes
 * U+FFFD, and so does a carriage return that is not part of a line end.
 */
export const shownText = (text: string): string =>
  text.replaceAll(/\r(?!\n)|[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (character, at: number) =>
    character === '\n' || character === '\t' || (character === '\r' && text[at + 1] === '\n') ? character : '\uFFFD',
  )

/**
 * A text of several lines: line ends and tabs stay, no other control characters, and no marks that reorder text; not blank unless empty.
 */
export const plainText = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.isWellFormed() && shownText(text) === text, 'has control characters or marks that reorder text')
