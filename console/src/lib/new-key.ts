// A key that a page makes for a person: a number is added to its name where the project has a key of that name already.

import { ApiError, post } from './api';
import type { ApiKey } from './wire';

const NAMES_TRIED_MAX = 20;

export async function newKey(body: { name: string; scopes: string[]; expires_in_days?: number; project_id?: string }): Promise<ApiKey> {
  for (let number = 1; ; number += 1) {
    try {
      return await post<ApiKey>('/v2/api-keys', number === 1 ? body : { ...body, name: `${body.name} ${number}` });
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'name_taken') || number === NAMES_TRIED_MAX) throw error;
    }
  }
}
