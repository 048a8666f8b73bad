/** The reasons that the actions service answers with. `docs/errors.md` lists them; `mesh/problem.ts` gives each its HTTP status. */
import { errorTable } from '#mesh/errors.ts'

export const errors = errorTable('actions', {
  ACTIONS_DISABLED: { code: 'UNIMPLEMENTED', message: 'Actions are switched off here: set ACTIONS_ENABLED=true.' },
  UNKNOWN_ACTION: { code: 'NOT_FOUND', message: 'There is no such action. GET /actions lists those there are.' },
  ACTION_UNAVAILABLE: { code: 'UNIMPLEMENTED', message: 'The provider of this action is not configured here.' },
  PROVIDER_NOT_CONFIGURED: { code: 'UNIMPLEMENTED', message: 'The provider of this action has no credentials here.' },
  NOT_CONNECTED: {
    code: 'FAILED_PRECONDITION',
    message: 'No account is connected for this action. Connect one at authorize_path, then preview again.',
  },
  REAUTH_REQUIRED: { code: 'FAILED_PRECONDITION', message: 'The account must be connected anew: see authorize_path.' },
  CONNECTION_CHANGED: {
    code: 'FAILED_PRECONDITION',
    message: 'Another account is connected than when this was previewed. Preview it again.',
  },
  INVALID_PARAMS: { code: 'INVALID_ARGUMENT', message: 'The parameters are not those of this action.' },
  TARGET_REFUSED: { code: 'INVALID_ARGUMENT', message: 'Requests may only go to public addresses over http or https.' },
  PREVIEW_INVALID: { code: 'NOT_FOUND', message: 'Invalid or expired preview_id' },
  PREVIEW_ALREADY_RUN: {
    code: 'ALREADY_EXISTS',
    message: 'This preview was already run under another key. To run the action again, preview it again.',
  },
  KEY_REUSED: { code: 'INVALID_ARGUMENT', message: 'This Idempotency-Key belongs to another request. Use a new key for a new request.' },
  IN_PROGRESS: { code: 'ABORTED', message: 'This run is still in progress. Ask again with the same key.' },
  RUN_NOT_UNKNOWN: { code: 'FAILED_PRECONDITION', message: 'Only a run that ended as unknown can be settled.' },
  RUN_ALREADY_SETTLED: {
    code: 'FAILED_PRECONDITION',
    message: 'This run was already settled: by another actor, or with the other verdict.',
  },
  RUN_NOT_FOUND: { code: 'NOT_FOUND', message: 'There is no such run.' },
})
