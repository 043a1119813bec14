// What `/v2/files` and `/v2/file-storage` answer.

export interface StoredFile {
  id: string;
  project_id: string;
  filename: string;
  content_type: string;
  purpose: string;
  status: string;
  bytes: number;
  pieces: number;
  created_at: string;
  expires_at: string;
}

export interface NewFile extends StoredFile {
  upload_url: string;
}

export interface FilePiece {
  piece: number;
  content_base64: string;
}

export interface FileStorage {
  project_id: string;
  files: number;
  bytes: number;
  bytes_max: number;
}
