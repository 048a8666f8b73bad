/** The reasons of the actions service. `docs/errors.md` lists them; `mesh/problem.ts` maps each to its HTTP status. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('actions', {
  ACTIONS_DISABLED: {
    code: 'UNIMPLEMENTED',
    message: 'Actions are disabled on this installation. Set ACTIONS_ENABLED=true to enable them.',
  },
  UNKNOWN_ACTION: { code: 'NOT_FOUND', message: 'This action does not exist. GET /actions lists the available actions.' },
  ACTION_UNAVAILABLE: { code: 'UNIMPLEMENTED', message: 'The provider of this action is not configured on this installation.' },
  PROVIDER_NOT_CONFIGURED: { code: 'UNIMPLEMENTED', message: 'The provider of this action has no credentials on this installation.' },
  NOT_CONNECTED: {
    code: 'FAILED_PRECONDITION',
    message: 'No account is connected for this action. Connect one at authorize_path, then preview again.',
  },
  REAUTH_REQUIRED: { code: 'FAILED_PRECONDITION', message: 'The account must be connected again at authorize_path.' },
  CONNECTION_CHANGED: {
    code: 'FAILED_PRECONDITION',
    message: 'A different account is connected now than when this was previewed. Preview it again.',
  },
  INVALID_PARAMS: { code: 'INVALID_ARGUMENT', message: 'The parameters do not match the schema of this action. GET /actions shows it.' },
  TARGET_REFUSED: { code: 'INVALID_ARGUMENT', message: 'The target is not a public http or https address. Use one that is.' },
  PREVIEW_INVALID: { code: 'NOT_FOUND', message: 'Invalid or expired preview_id' },
  PREVIEW_ALREADY_RUN: {
    code: 'ALREADY_EXISTS',
    message: 'This preview was already executed with another key. Preview the action again to run it again.',
  },
  KEY_REUSED: { code: 'INVALID_ARGUMENT', message: 'This Idempotency-Key belongs to another request. Use a new key for a new request.' },
  IN_PROGRESS: { code: 'ABORTED', message: 'This run is still in progress. Retry with the same key.' },
  RUN_NOT_UNKNOWN: { code: 'FAILED_PRECONDITION', message: 'Only a run that ended as unknown can be settled.' },
  RUN_ALREADY_SETTLED: {
    code: 'FAILED_PRECONDITION',
    message: 'This run was already settled, by another actor or with another verdict.',
  },
  RUN_NOT_FOUND: { code: 'NOT_FOUND', message: 'This run does not exist, or it belongs to another workspace.' },
})
