CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);--
INSERT INTO "alembic_version" VALUES('0001');--
CREATE TABLE dataset_files (
	dataset_id TEXT NOT NULL, 
	path TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	current BOOLEAN NOT NULL, 
	CONSTRAINT pk_dataset_files PRIMARY KEY (dataset_id, path, sha256), 
	CONSTRAINT fk_dataset_files_dataset_id FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE
);--
CREATE TABLE dataset_records (
	dataset_id TEXT NOT NULL, 
	place INTEGER NOT NULL, 
	purpose TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	label_id TEXT, 
	labeler_role TEXT, 
	CONSTRAINT pk_dataset_records PRIMARY KEY (dataset_id, place), 
	CONSTRAINT ck_dataset_records_training_labelers_only CHECK (purpose <> 'training' OR labeler_role IS NULL OR labeler_role = 'training'), 
	CONSTRAINT ck_dataset_records_role CHECK ((label_id IS NULL) = (labeler_role IS NULL)), 
	CONSTRAINT fk_dataset_records_dataset_id FOREIGN KEY(dataset_id, purpose) REFERENCES datasets (id, purpose) ON DELETE CASCADE, 
	CONSTRAINT fk_dataset_records_label_id FOREIGN KEY(label_id, labeler_role) REFERENCES labels (id, labeler_role) ON DELETE CASCADE, 
	CONSTRAINT fk_dataset_records_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE
);--
CREATE TABLE datasets (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	"query" TEXT NOT NULL, 
	num_records INTEGER NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT ck_datasets_purpose CHECK (purpose IN ('training', 'evaluation')), 
	CONSTRAINT uq_datasets_id UNIQUE (id, purpose)
);--
CREATE TABLE labelers (
	id TEXT NOT NULL, 
	role TEXT NOT NULL, 
	labeler_group TEXT, 
	screening TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_labelers PRIMARY KEY (id), 
	CONSTRAINT ck_labelers_role CHECK (role IN ('training', 'held_out', 'researcher')), 
	CONSTRAINT uq_labelers_id UNIQUE (id, role)
);--
INSERT INTO "labelers" VALUES('l1','training',NULL,'{}','2026-11-24T08:04:35.036413+00:00');--
INSERT INTO "labelers" VALUES('l2','training','b','{"agreement":0.8}','2026-11-24T08:04:35.036457+00:00');--
INSERT INTO "labelers" VALUES('h1','held_out',NULL,'{}','2026-11-24T08:04:35.036465+00:00');--
INSERT INTO "labelers" VALUES('s1','researcher',NULL,'{}','2026-11-24T08:04:35.036471+00:00');--
CREATE TABLE labels (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	response_id TEXT, 
	labeler_id TEXT NOT NULL, 
	labeler_role TEXT NOT NULL, 
	rubric TEXT, 
	revision INTEGER NOT NULL, 
	revises TEXT, 
	body TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_labels PRIMARY KEY (id), 
	CONSTRAINT ck_labels_response CHECK ((kind = 'rating') = (response_id IS NOT NULL)), 
	CONSTRAINT ck_labels_kind CHECK (kind IN ('demonstration', 'rating', 'ranking')), 
	CONSTRAINT ck_labels_revision CHECK ((revision = 0) = (revises IS NULL)), 
	CONSTRAINT fk_labels_labeler_id FOREIGN KEY(labeler_id, labeler_role) REFERENCES labelers (id, role), 
	CONSTRAINT fk_labels_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_labels_response_id FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE, 
	CONSTRAINT fk_labels_revises FOREIGN KEY(revises) REFERENCES labels (id) ON DELETE CASCADE, 
	CONSTRAINT fk_labels_rubric FOREIGN KEY(rubric) REFERENCES rubrics (version), 
	CONSTRAINT uq_labels_id UNIQUE (id, labeler_role), 
	CONSTRAINT uq_labels_revises UNIQUE (revises)
);--
INSERT INTO "labels" VALUES('d-p0-l1','demonstration','p0',NULL,'l1','training','v1',0,NULL,'{"response":"A good answer."}','2026-11-24T08:04:35.593922+00:00');--
INSERT INTO "labels" VALUES('a-p0-l1','rating','p0','p0-r0','l1','training','v1',0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-24T08:04:35.593948+00:00');--
INSERT INTO "labels" VALUES('k-p0-l1','ranking','p0',NULL,'l1','training','v1',0,NULL,'{"tiers":[[1],[0]]}','2026-11-24T08:04:35.593960+00:00');--
INSERT INTO "labels" VALUES('d-p1-l1','demonstration','p1',NULL,'l1','training','v1',0,NULL,'{"response":"A good answer."}','2026-11-24T08:04:35.593967+00:00');--
INSERT INTO "labels" VALUES('a-p1-l1','rating','p1','p1-r0','l1','training','v1',0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-24T08:04:35.593974+00:00');--
INSERT INTO "labels" VALUES('k-p1-l1','ranking','p1',NULL,'l1','training','v1',0,NULL,'{"tiers":[[1],[0]]}','2026-11-24T08:04:35.593981+00:00');--
INSERT INTO "labels" VALUES('d-p0-h1','demonstration','p0',NULL,'h1','held_out','v1',0,NULL,'{"response":"A good answer."}','2026-11-24T08:04:35.821147+00:00');--
INSERT INTO "labels" VALUES('a-p0-h1','rating','p0','p0-r0','h1','held_out','v1',0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-24T08:04:35.821175+00:00');--
INSERT INTO "labels" VALUES('k-p0-h1','ranking','p0',NULL,'h1','held_out','v1',0,NULL,'{"tiers":[[1],[0]]}','2026-11-24T08:04:35.821187+00:00');--
INSERT INTO "labels" VALUES('d-p1-h1','demonstration','p1',NULL,'h1','held_out','v1',0,NULL,'{"response":"A good answer."}','2026-11-24T08:04:35.821194+00:00');--
INSERT INTO "labels" VALUES('a-p1-h1','rating','p1','p1-r0','h1','held_out','v1',0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-24T08:04:35.821201+00:00');--
INSERT INTO "labels" VALUES('k-p1-h1','ranking','p1',NULL,'h1','held_out','v1',0,NULL,'{"tiers":[[1],[0]]}','2026-11-24T08:04:35.821208+00:00');--
CREATE TABLE prompts (
	id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	organization_id TEXT, 
	body TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	source TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	use_case TEXT, 
	split TEXT, 
	dropped_by TEXT, 
	created_at TEXT, 
	CONSTRAINT pk_prompts PRIMARY KEY (id), 
	CONSTRAINT ck_prompts_split CHECK (split IS NULL OR split IN ('train', 'valid', 'test')), 
	CONSTRAINT fk_prompts_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);--
INSERT INTO "prompts" VALUES('p0','u0',NULL,'"Question 0?"','9afbb0cf66e2802b09fb3d3b4087b7d371377c121c38502069349ffccb9ff486','user','{}',NULL,NULL,NULL,'2026-01-00');--
INSERT INTO "prompts" VALUES('p1','u1',NULL,'"Question 1?"','eb0021a90e96705b5a4a4f363bb38ad96288737511b93e011881edc7ef3a5445','user','{}',NULL,NULL,NULL,'2026-01-01');--
CREATE TABLE ranked_responses (
	label_id TEXT NOT NULL, 
	place INTEGER NOT NULL, 
	tier INTEGER NOT NULL, 
	response_id TEXT NOT NULL, 
	CONSTRAINT pk_ranked_responses PRIMARY KEY (label_id, place), 
	CONSTRAINT fk_ranked_responses_label_id FOREIGN KEY(label_id) REFERENCES labels (id) ON DELETE CASCADE, 
	CONSTRAINT fk_ranked_responses_response_id FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE
);--
INSERT INTO "ranked_responses" VALUES('k-p0-l1',0,1,'p0-r0');--
INSERT INTO "ranked_responses" VALUES('k-p0-l1',1,0,'p0-r1');--
INSERT INTO "ranked_responses" VALUES('k-p1-l1',0,1,'p1-r0');--
INSERT INTO "ranked_responses" VALUES('k-p1-l1',1,0,'p1-r1');--
INSERT INTO "ranked_responses" VALUES('k-p0-h1',0,1,'p0-r0');--
INSERT INTO "ranked_responses" VALUES('k-p0-h1',1,0,'p0-r1');--
INSERT INTO "ranked_responses" VALUES('k-p1-h1',0,1,'p1-r0');--
INSERT INTO "ranked_responses" VALUES('k-p1-h1',1,0,'p1-r1');--
CREATE TABLE responses (
	id TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	response TEXT NOT NULL, 
	model TEXT NOT NULL, 
	temperature FLOAT NOT NULL, 
	seed BIGINT NOT NULL, 
	finished BOOLEAN NOT NULL, 
	logprob FLOAT, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_responses PRIMARY KEY (id), 
	CONSTRAINT fk_responses_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE
);--
INSERT INTO "responses" VALUES('p0-r0','p0','Answer 0 to p0','sft',1.0,1099511627776,1,-1.5,'2026-11-24T08:04:35.444826+00:00');--
INSERT INTO "responses" VALUES('p0-r1','p0','Answer 1 to p0','sft',1.0,1099511627776,1,-1.5,'2026-11-24T08:04:35.444847+00:00');--
INSERT INTO "responses" VALUES('p1-r0','p1','Answer 0 to p1','sft',1.0,1099511627776,1,-1.5,'2026-11-24T08:04:35.444850+00:00');--
INSERT INTO "responses" VALUES('p1-r1','p1','Answer 1 to p1','sft',1.0,1099511627776,1,-1.5,'2026-11-24T08:04:35.444853+00:00');--
CREATE TABLE rubrics (
	version TEXT NOT NULL, 
	instructions TEXT NOT NULL, 
	priorities TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_rubrics PRIMARY KEY (version)
);--
INSERT INTO "rubrics" VALUES('v1','Be helpful.','["truthful","harmless","helpful"]','2026-11-24T08:04:35.263567+00:00');--
CREATE TABLE users (
	id TEXT NOT NULL, 
	organization_id TEXT, 
	consent BOOLEAN NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id)
);--
INSERT INTO "users" VALUES('u1',NULL,1,'2026-11-24T08:04:35.326079+00:00');--
INSERT INTO "users" VALUES('u0',NULL,1,'2026-11-24T08:04:35.326098+00:00');--
CREATE INDEX ix_dataset_files_sha256 ON dataset_files (sha256);--
CREATE INDEX ix_prompts_user_id ON prompts (user_id);--
CREATE INDEX ix_responses_prompt_id ON responses (prompt_id);--
CREATE INDEX ix_labels_labeler_id ON labels (labeler_id);--
CREATE INDEX ix_labels_prompt_id ON labels (prompt_id);--
CREATE INDEX ix_labels_response_id ON labels (response_id);--
CREATE INDEX ix_dataset_records_label_id ON dataset_records (label_id);--
CREATE INDEX ix_dataset_records_prompt_id ON dataset_records (prompt_id);--
CREATE INDEX ix_ranked_responses_response_id ON ranked_responses (response_id);--
CREATE TRIGGER labels_immutable BEFORE UPDATE ON labels BEGIN SELECT RAISE(ABORT, 'labels are immutable; append a revision'); END;--
