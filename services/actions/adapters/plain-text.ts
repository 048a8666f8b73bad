/** Text that reads as what it is: nothing in it ends a header, steers a terminal or turns the order of what is shown around. Pure. */
import { z } from 'zod'

/** Controls (line ends among them), line separators, and the marks that reorder text: with those, `exe.fdp` is shown as `pdf.exe`. */
const unplain = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u

/** At most so many UTF-16 units. */
export const plainLine = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.isWellFormed() && !unplain.test(text), 'has line ends, control characters or marks that reorder text')

/** The same, and there is something to read. */
export const plainName = (max: number) => plainLine(max).refine((text) => text.trim() !== '', 'is empty')

/**
 * What another side wrote, as it is stored and shown: lines and tabs stay, every other control character and mark that reorders text is
 * replaced by U+FFFD. A carriage return stands for a line's end or for nothing good.
 */
export const shownText = (text: string): string =>
  text.replaceAll(/\r(?!\n)|[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (character, at: number) =>
    character === '\n' || character === '\t' || (character === '\r' && text[at + 1] === '\n') ? character : '\uFFFD',
  )

/** A text of several lines: line ends and tabs stay, no other control character, and no mark that reorders text; something to read or nothing. */
export const plainText = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.isWellFormed() && shownText(text) === text, 'has control characters or marks that reorder text')
