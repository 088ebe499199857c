CREATE TABLE accounts (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	password TEXT, 
	owner BOOLEAN NOT NULL, 
	role TEXT, 
	stage TEXT NOT NULL, 
	screen BOOLEAN NOT NULL, 
	labeler_group TEXT, 
	scores TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	password_at TEXT, 
	disabled_at TEXT, 
	decided_by TEXT, 
	decided_at TEXT, 
	CONSTRAINT pk_accounts PRIMARY KEY (id), 
	CONSTRAINT uq_accounts_name_key UNIQUE (name_key), 
	CONSTRAINT ck_accounts_role CHECK (role IS NULL OR role IN ('training', 'held_out', 'researcher')), 
	CONSTRAINT ck_accounts_stage CHECK (stage IN ('practice', 'screening', 'waiting', 'active', 'rejected')), 
	CONSTRAINT ck_accounts_active CHECK (stage <> 'active' OR role IS NOT NULL OR owner)
);--
INSERT INTO "accounts" VALUES('lab-b05e60afb5902d8f','Ann','ann',NULL,0,'training','active',0,NULL,'{}','2026-01-02T09:00:00.000000+00:00',NULL,NULL,NULL,NULL);--
CREATE TABLE acknowledgements (
	account_id TEXT NOT NULL, 
	rubric TEXT NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_acknowledgements PRIMARY KEY (account_id, rubric), 
	CONSTRAINT fk_acknowledgements_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_acknowledgements_rubric FOREIGN KEY(rubric) REFERENCES rubrics (version)
);--
INSERT INTO "acknowledgements" VALUES('lab-b05e60afb5902d8f','v1','2026-01-02T09:00:00.000000+00:00');--
CREATE TABLE adjudications (
	id TEXT NOT NULL, 
	item_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	body TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_adjudications PRIMARY KEY (id), 
	CONSTRAINT fk_adjudications_item_id FOREIGN KEY(item_id) REFERENCES items (id) ON DELETE CASCADE, 
	CONSTRAINT fk_adjudications_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);--
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);--
INSERT INTO "alembic_version" VALUES('0007');--
CREATE TABLE api_keys (
	id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	requests_per_minute INTEGER, 
	tokens_per_day INTEGER, 
	created_at TEXT NOT NULL, 
	expires_at TEXT, 
	revoked_at TEXT, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT fk_api_keys_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);--
CREATE TABLE assignments (
	id TEXT NOT NULL, 
	item_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	stage TEXT NOT NULL, 
	slot INTEGER, 
	state TEXT NOT NULL, 
	outcome TEXT, 
	shown TEXT NOT NULL, 
	rubric TEXT, 
	leased_at TEXT NOT NULL, 
	expires_at TEXT NOT NULL, 
	beat_at TEXT NOT NULL, 
	done_at TEXT, 
	reason TEXT, 
	note TEXT, 
	seconds FLOAT, 
	ui TEXT, 
	submission_id TEXT, 
	CONSTRAINT pk_assignments PRIMARY KEY (id), 
	CONSTRAINT uq_assignments_item_id UNIQUE (item_id, account_id), 
	CONSTRAINT ck_assignments_stage CHECK (stage IN ('work', 'practice', 'screening')), 
	CONSTRAINT ck_assignments_state CHECK (state IN ('leased', 'expired', 'done', 'skipped')), 
	CONSTRAINT ck_assignments_outcome CHECK ((state = 'done') = (outcome IS NOT NULL)), 
	CONSTRAINT fk_assignments_item_id FOREIGN KEY(item_id) REFERENCES items (id) ON DELETE CASCADE, 
	CONSTRAINT fk_assignments_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);--
INSERT INTO "assignments" VALUES('as-93dcb038e9848a5ad8313279','it-0147777f0042c12cddcc','lab-b05e60afb5902d8f','work',NULL,'skipped',NULL,'["p1-r1","p1-r0"]','v1','2026-01-02T09:00:00.000000+00:00','2026-01-02T09:30:00.000000+00:00','2026-01-02T09:00:00.000000+00:00','2026-01-02T09:00:00.000000+00:00','unclear','',NULL,NULL,NULL);--
INSERT INTO "assignments" VALUES('as-6d5dc889bf0004d1e2f0e829','it-797b897a069ddf5f4c8b','lab-b05e60afb5902d8f','work',0,'leased',NULL,'["p0-r1","p0-r0"]','v1','2026-01-02T09:00:00.000000+00:00','2026-01-02T09:30:00.000000+00:00','2026-01-02T09:00:00.000000+00:00',NULL,NULL,NULL,NULL,NULL,NULL);--
CREATE TABLE audit_log (
	seq INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	account_id TEXT, 
	action TEXT NOT NULL, 
	object TEXT, 
	body TEXT NOT NULL, 
	previous TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	CONSTRAINT pk_audit_log PRIMARY KEY (seq)
);--
INSERT INTO "audit_log" VALUES(1,'2026-01-02T09:00:00.000000+00:00',NULL,'account.invited','lab-b05e60afb5902d8f','{"owner":false,"role":"training","screen":false}','0000000000000000000000000000000000000000000000000000000000000000','0f8c04940ab09e8a1907f85263e5e8183912d4e6d3911332c794588fec38f0e8');--
CREATE TABLE daily_usage (
	user_id TEXT NOT NULL, 
	day TEXT NOT NULL, 
	requests BIGINT NOT NULL, 
	tokens BIGINT NOT NULL, 
	CONSTRAINT pk_daily_usage PRIMARY KEY (user_id, day), 
	CONSTRAINT fk_daily_usage_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);--
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
	feedback_id TEXT, 
	CONSTRAINT pk_dataset_records PRIMARY KEY (dataset_id, place), 
	CONSTRAINT fk_dataset_records_dataset_id FOREIGN KEY(dataset_id, purpose) REFERENCES datasets (id, purpose) ON DELETE CASCADE, 
	CONSTRAINT fk_dataset_records_label_id FOREIGN KEY(label_id, labeler_role) REFERENCES labels (id, labeler_role) ON DELETE CASCADE, 
	CONSTRAINT ck_dataset_records_role CHECK ((label_id IS NULL) = (labeler_role IS NULL)), 
	CONSTRAINT ck_dataset_records_training_labelers_only CHECK (purpose <> 'training' OR labeler_role IS NULL OR labeler_role = 'training'), 
	CONSTRAINT fk_dataset_records_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_dataset_records_feedback_id FOREIGN KEY(feedback_id) REFERENCES feedback (id) ON DELETE CASCADE
);--
CREATE TABLE datasets (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	"query" TEXT NOT NULL, 
	num_records INTEGER NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_datasets PRIMARY KEY (id), 
	CONSTRAINT uq_datasets_id UNIQUE (id, purpose), 
	CONSTRAINT ck_datasets_purpose CHECK (purpose IN ('training', 'evaluation'))
);--
CREATE TABLE drafts (
	assignment_id TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	saved_at TEXT NOT NULL, 
	CONSTRAINT pk_drafts PRIMARY KEY (assignment_id), 
	CONSTRAINT fk_drafts_assignment_id FOREIGN KEY(assignment_id) REFERENCES assignments (id) ON DELETE CASCADE
);--
INSERT INTO "drafts" VALUES('as-6d5dc889bf0004d1e2f0e829',1,'{"tiers":[]}','2026-01-02T09:00:00.000000+00:00');--
CREATE TABLE export_jobs (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	request TEXT NOT NULL, 
	state TEXT NOT NULL, 
	progress INTEGER NOT NULL, 
	total INTEGER, 
	path TEXT, 
	sha256 TEXT, 
	error TEXT, 
	created_at TEXT NOT NULL, 
	started_at TEXT, 
	finished_at TEXT, 
	CONSTRAINT pk_export_jobs PRIMARY KEY (id), 
	CONSTRAINT ck_export_jobs_state CHECK (state IN ('waiting', 'running', 'done', 'failed')), 
	CONSTRAINT fk_export_jobs_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);--
CREATE TABLE feedback (
	id TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	response_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	value TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_feedback PRIMARY KEY (id), 
	CONSTRAINT ck_feedback_kind CHECK (kind IN ('thumb', 'choice', 'correction')), 
	CONSTRAINT fk_feedback_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_feedback_response_id FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE
);--
CREATE TABLE gold_items (
	item_id TEXT NOT NULL, 
	use TEXT NOT NULL, 
	author_id TEXT, 
	answer TEXT NOT NULL, 
	why TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	retired_at TEXT, 
	CONSTRAINT pk_gold_items PRIMARY KEY (item_id), 
	CONSTRAINT ck_gold_items_use CHECK (use IN ('practice', 'screening', 'mixed')), 
	CONSTRAINT fk_gold_items_item_id FOREIGN KEY(item_id) REFERENCES items (id) ON DELETE CASCADE, 
	CONSTRAINT fk_gold_items_author_id FOREIGN KEY(author_id) REFERENCES accounts (id)
);--
CREATE TABLE invitations (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	created_by TEXT, 
	created_at TEXT NOT NULL, 
	expires_at TEXT NOT NULL, 
	used_at TEXT, 
	CONSTRAINT pk_invitations PRIMARY KEY (id), 
	CONSTRAINT ck_invitations_kind CHECK (kind IN ('invitation', 'reset')), 
	CONSTRAINT fk_invitations_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);--
INSERT INTO "invitations" VALUES('ab890b0c93e65982095cabca0664482e6a75b8312acbf6bc1d045175d97497d8','lab-b05e60afb5902d8f','invitation',NULL,'2026-01-02T09:00:00.000000+00:00','2026-01-02T09:30:00.000000+00:00',NULL);--
CREATE TABLE item_responses (
	item_id TEXT NOT NULL, 
	place INTEGER NOT NULL, 
	response_id TEXT NOT NULL, 
	CONSTRAINT pk_item_responses PRIMARY KEY (item_id, place), 
	CONSTRAINT fk_item_responses_item_id FOREIGN KEY(item_id) REFERENCES items (id) ON DELETE CASCADE, 
	CONSTRAINT fk_item_responses_response_id FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE
);--
INSERT INTO "item_responses" VALUES('it-0147777f0042c12cddcc',0,'p1-r0');--
INSERT INTO "item_responses" VALUES('it-0147777f0042c12cddcc',1,'p1-r1');--
INSERT INTO "item_responses" VALUES('it-797b897a069ddf5f4c8b',0,'p0-r0');--
INSERT INTO "item_responses" VALUES('it-797b897a069ddf5f4c8b',1,'p0-r1');--
CREATE TABLE items (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	prompt_id TEXT, 
	purpose TEXT NOT NULL, 
	round INTEGER DEFAULT '0' NOT NULL, 
	pool TEXT NOT NULL, 
	wanted INTEGER NOT NULL, 
	max_wanted INTEGER NOT NULL, 
	num_done INTEGER NOT NULL, 
	num_live INTEGER NOT NULL, 
	num_skips INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	brief TEXT, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_items PRIMARY KEY (id), 
	CONSTRAINT uq_items_kind UNIQUE (kind, prompt_id, purpose, round), 
	CONSTRAINT ck_items_kind CHECK (kind IN ('demonstrate', 'rank', 'write')), 
	CONSTRAINT ck_items_prompt CHECK ((kind = 'write') = (prompt_id IS NULL)), 
	CONSTRAINT ck_items_purpose CHECK (purpose IN ('training', 'evaluation')), 
	CONSTRAINT ck_items_pool CHECK (pool IN ('single', 'calibration', 'gold')), 
	CONSTRAINT ck_items_state CHECK (state IN ('open', 'done', 'set_aside', 'closed')), 
	CONSTRAINT fk_items_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE
);--
INSERT INTO "items" VALUES('it-0147777f0042c12cddcc','rank','p1','training',0,'single',1,1,0,0,1,'open',0,NULL,'2026-01-02T09:00:00.000000+00:00');--
INSERT INTO "items" VALUES('it-797b897a069ddf5f4c8b','rank','p0','training',0,'single',1,1,0,1,0,'open',1,NULL,'2026-01-02T09:00:00.000000+00:00');--
CREATE TABLE labelers (
	id TEXT NOT NULL, 
	role TEXT NOT NULL, 
	labeler_group TEXT, 
	screening TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_labelers PRIMARY KEY (id), 
	CONSTRAINT uq_labelers_id UNIQUE (id, role), 
	CONSTRAINT ck_labelers_role CHECK (role IN ('training', 'held_out', 'researcher'))
);--
INSERT INTO "labelers" VALUES('l1','training',NULL,'{}','2026-11-25T01:57:45.190851+00:00');--
INSERT INTO "labelers" VALUES('l2','training','b','{"agreement":0.8}','2026-11-25T01:57:45.190888+00:00');--
INSERT INTO "labelers" VALUES('h1','held_out',NULL,'{}','2026-11-25T01:57:45.190895+00:00');--
INSERT INTO "labelers" VALUES('s1','researcher',NULL,'{}','2026-11-25T01:57:45.190901+00:00');--
INSERT INTO "labelers" VALUES('lab-b05e60afb5902d8f','training',NULL,'{}','2026-11-25T01:57:45.490913+00:00');--
CREATE TABLE labels (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	response_id TEXT, 
	labeler_id TEXT NOT NULL, 
	labeler_role TEXT NOT NULL, 
	rubric TEXT, 
	rubric_begun TEXT, 
	revision INTEGER NOT NULL, 
	revises TEXT, 
	body TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_labels PRIMARY KEY (id), 
	CONSTRAINT uq_labels_id UNIQUE (id, labeler_role), 
	CONSTRAINT uq_labels_revises UNIQUE (revises), 
	CONSTRAINT fk_labels_labeler_id FOREIGN KEY(labeler_id, labeler_role) REFERENCES labelers (id, role), 
	CONSTRAINT ck_labels_kind CHECK (kind IN ('demonstration', 'rating', 'ranking')), 
	CONSTRAINT ck_labels_response CHECK ((kind = 'rating') = (response_id IS NOT NULL)), 
	CONSTRAINT ck_labels_revision CHECK ((revision = 0) = (revises IS NULL)), 
	CONSTRAINT fk_labels_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_labels_response_id FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE, 
	CONSTRAINT fk_labels_rubric FOREIGN KEY(rubric) REFERENCES rubrics (version), 
	CONSTRAINT fk_labels_revises FOREIGN KEY(revises) REFERENCES labels (id) ON DELETE CASCADE
);--
INSERT INTO "labels" VALUES('d-p0-l1','demonstration','p0',NULL,'l1','training','v1',NULL,0,NULL,'{"response":"A good answer."}','2026-11-25T01:57:45.399238+00:00');--
INSERT INTO "labels" VALUES('a-p0-l1','rating','p0','p0-r0','l1','training','v1',NULL,0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-25T01:57:45.399263+00:00');--
INSERT INTO "labels" VALUES('k-p0-l1','ranking','p0',NULL,'l1','training','v1',NULL,0,NULL,'{"tiers":[[1],[0]]}','2026-11-25T01:57:45.399275+00:00');--
INSERT INTO "labels" VALUES('d-p1-l1','demonstration','p1',NULL,'l1','training','v1',NULL,0,NULL,'{"response":"A good answer."}','2026-11-25T01:57:45.399281+00:00');--
INSERT INTO "labels" VALUES('a-p1-l1','rating','p1','p1-r0','l1','training','v1',NULL,0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-25T01:57:45.399289+00:00');--
INSERT INTO "labels" VALUES('k-p1-l1','ranking','p1',NULL,'l1','training','v1',NULL,0,NULL,'{"tiers":[[1],[0]]}','2026-11-25T01:57:45.399296+00:00');--
INSERT INTO "labels" VALUES('d-p0-h1','demonstration','p0',NULL,'h1','held_out','v1',NULL,0,NULL,'{"response":"A good answer."}','2026-11-25T01:57:45.454717+00:00');--
INSERT INTO "labels" VALUES('a-p0-h1','rating','p0','p0-r0','h1','held_out','v1',NULL,0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-25T01:57:45.454743+00:00');--
INSERT INTO "labels" VALUES('k-p0-h1','ranking','p0',NULL,'h1','held_out','v1',NULL,0,NULL,'{"tiers":[[1],[0]]}','2026-11-25T01:57:45.454755+00:00');--
INSERT INTO "labels" VALUES('d-p1-h1','demonstration','p1',NULL,'h1','held_out','v1',NULL,0,NULL,'{"response":"A good answer."}','2026-11-25T01:57:45.454761+00:00');--
INSERT INTO "labels" VALUES('a-p1-h1','rating','p1','p1-r0','h1','held_out','v1',NULL,0,NULL,'{"flags":{},"likert":6,"note":"=1+1"}','2026-11-25T01:57:45.454768+00:00');--
INSERT INTO "labels" VALUES('k-p1-h1','ranking','p1',NULL,'h1','held_out','v1',NULL,0,NULL,'{"tiers":[[1],[0]]}','2026-11-25T01:57:45.454775+00:00');--
CREATE TABLE prompt_tags (
	submission_id TEXT NOT NULL, 
	prompt_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	body TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_prompt_tags PRIMARY KEY (submission_id, prompt_id), 
	CONSTRAINT fk_prompt_tags_submission_id FOREIGN KEY(submission_id) REFERENCES submissions (id) ON DELETE CASCADE, 
	CONSTRAINT fk_prompt_tags_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE
);--
CREATE TABLE prompt_views (
	prompt_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	page TEXT NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_prompt_views PRIMARY KEY (prompt_id, account_id, page, at), 
	CONSTRAINT fk_prompt_views_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE CASCADE, 
	CONSTRAINT fk_prompt_views_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);--
INSERT INTO "prompt_views" VALUES('p0','lab-b05e60afb5902d8f','own answer','2026-11-25T05:00:00+00:00');--
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
INSERT INTO "responses" VALUES('p0-r0','p0','Answer 0 to p0','sft',1.0,1099511627776,1,-1.5,'2026-11-25T01:57:45.338932+00:00');--
INSERT INTO "responses" VALUES('p0-r1','p0','Answer 1 to p0','sft',1.0,1099511627776,1,-1.5,'2026-11-25T01:57:45.338951+00:00');--
INSERT INTO "responses" VALUES('p1-r0','p1','Answer 0 to p1','sft',1.0,1099511627776,1,-1.5,'2026-11-25T01:57:45.338954+00:00');--
INSERT INTO "responses" VALUES('p1-r1','p1','Answer 1 to p1','sft',1.0,1099511627776,1,-1.5,'2026-11-25T01:57:45.338957+00:00');--
CREATE TABLE rubrics (
	version TEXT NOT NULL, 
	instructions TEXT NOT NULL, 
	priorities TEXT NOT NULL, 
	evaluation_priorities TEXT, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_rubrics PRIMARY KEY (version)
);--
INSERT INTO "rubrics" VALUES('v1','Be helpful.','["truthful","harmless","helpful"]',NULL,'2026-11-25T01:57:45.240770+00:00');--
CREATE TABLE self_descriptions (
	account_id TEXT NOT NULL, 
	body TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	CONSTRAINT pk_self_descriptions PRIMARY KEY (account_id), 
	CONSTRAINT fk_self_descriptions_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);--
CREATE TABLE sessions (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	seen_at TEXT NOT NULL, 
	revoked_at TEXT, 
	CONSTRAINT pk_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_sessions_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);--
CREATE TABLE settings (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	CONSTRAINT pk_settings PRIMARY KEY (name)
);--
CREATE TABLE sign_in_failures (
	"key" TEXT NOT NULL, 
	count INTEGER NOT NULL, 
	last_at TEXT NOT NULL, 
	CONSTRAINT pk_sign_in_failures PRIMARY KEY ("key")
);--
CREATE TABLE submission_labels (
	submission_id TEXT NOT NULL, 
	label_id TEXT NOT NULL, 
	CONSTRAINT pk_submission_labels PRIMARY KEY (submission_id, label_id), 
	CONSTRAINT fk_submission_labels_submission_id FOREIGN KEY(submission_id) REFERENCES submissions (id) ON DELETE CASCADE, 
	CONSTRAINT fk_submission_labels_label_id FOREIGN KEY(label_id) REFERENCES labels (id) ON DELETE CASCADE
);--
CREATE TABLE submissions (
	id TEXT NOT NULL, 
	assignment_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	body TEXT NOT NULL, 
	reply TEXT NOT NULL, 
	revises TEXT, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_submissions PRIMARY KEY (id), 
	CONSTRAINT uq_submissions_revises UNIQUE (revises), 
	CONSTRAINT fk_submissions_assignment_id FOREIGN KEY(assignment_id) REFERENCES assignments (id) ON DELETE CASCADE, 
	CONSTRAINT fk_submissions_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)
);--
CREATE TABLE topic_coverage (
	account_id TEXT NOT NULL, 
	topic TEXT NOT NULL, 
	can_judge BOOLEAN NOT NULL, 
	CONSTRAINT pk_topic_coverage PRIMARY KEY (account_id, topic), 
	CONSTRAINT fk_topic_coverage_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);--
CREATE TABLE trial_answers (
	assignment_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	use TEXT NOT NULL, 
	item_id TEXT NOT NULL, 
	body TEXT NOT NULL, 
	score TEXT, 
	graded TEXT, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_trial_answers PRIMARY KEY (assignment_id), 
	CONSTRAINT ck_trial_answers_use CHECK (use IN ('practice', 'screening')), 
	CONSTRAINT fk_trial_answers_assignment_id FOREIGN KEY(assignment_id) REFERENCES assignments (id) ON DELETE CASCADE, 
	CONSTRAINT fk_trial_answers_account_id FOREIGN KEY(account_id) REFERENCES accounts (id), 
	CONSTRAINT fk_trial_answers_item_id FOREIGN KEY(item_id) REFERENCES items (id) ON DELETE CASCADE
);--
CREATE TABLE users (
	id TEXT NOT NULL, 
	organization_id TEXT, 
	consent BOOLEAN NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id)
);--
INSERT INTO "users" VALUES('u1',NULL,1,'2026-11-25T01:57:45.286768+00:00');--
INSERT INTO "users" VALUES('u0',NULL,1,'2026-11-25T01:57:45.286787+00:00');--
CREATE TABLE withdrawals (
	label_id TEXT NOT NULL, 
	submission_id TEXT NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_withdrawals PRIMARY KEY (label_id), 
	CONSTRAINT fk_withdrawals_label_id FOREIGN KEY(label_id) REFERENCES labels (id) ON DELETE CASCADE
);--
CREATE TABLE worker_flags (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	body TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	cleared_by TEXT, 
	cleared_at TEXT, 
	CONSTRAINT pk_worker_flags PRIMARY KEY (id), 
	CONSTRAINT fk_worker_flags_account_id FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);--
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;--
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;--
CREATE INDEX ix_prompts_user_id ON prompts (user_id);--
CREATE INDEX ix_dataset_files_sha256 ON dataset_files (sha256);--
CREATE INDEX ix_api_keys_user_id ON api_keys (user_id);--
CREATE INDEX ix_invitations_account_id ON invitations (account_id);--
CREATE INDEX ix_sessions_account_id ON sessions (account_id);--
CREATE INDEX ix_worker_flags_account_id ON worker_flags (account_id);--
CREATE INDEX ix_responses_prompt_id ON responses (prompt_id, created_at);--
CREATE INDEX ix_items_next ON items (state, kind, priority, id);--
CREATE INDEX ix_items_prompt_id ON items (prompt_id);--
CREATE INDEX ix_prompt_views_account_id ON prompt_views (account_id, at);--
CREATE INDEX ix_labels_response_id ON labels (response_id);--
CREATE INDEX ix_labels_labeler_id ON labels (labeler_id, created_at);--
CREATE INDEX ix_labels_prompt_id ON labels (prompt_id);--
CREATE TRIGGER labels_immutable BEFORE UPDATE ON labels BEGIN SELECT RAISE(ABORT, 'labels are immutable; append a revision'); END;--
CREATE INDEX ix_feedback_response_id ON feedback (response_id);--
CREATE INDEX ix_feedback_prompt_id ON feedback (prompt_id);--
CREATE INDEX ix_item_responses_response_id ON item_responses (response_id);--
CREATE UNIQUE INDEX uq_assignments_slot ON assignments (item_id, slot) WHERE stage = 'work' AND state IN ('leased', 'done');--
CREATE INDEX ix_assignments_live ON assignments (state, expires_at);--
CREATE INDEX ix_assignments_of_account ON assignments (account_id, state, done_at);--
CREATE INDEX ix_gold_items_use ON gold_items (use);--
CREATE INDEX ix_adjudications_item_id ON adjudications (item_id);--
CREATE INDEX ix_ranked_responses_response_id ON ranked_responses (response_id);--
CREATE INDEX ix_dataset_records_feedback_id ON dataset_records (feedback_id);--
CREATE INDEX ix_dataset_records_label_id ON dataset_records (label_id);--
CREATE INDEX ix_dataset_records_prompt_id ON dataset_records (prompt_id);--
CREATE INDEX ix_submissions_assignment_id ON submissions (assignment_id);--
CREATE INDEX ix_submissions_account_id ON submissions (account_id);--
CREATE INDEX ix_trial_answers_account_id ON trial_answers (account_id);--
CREATE INDEX ix_trial_answers_item_id ON trial_answers (item_id);--
CREATE INDEX ix_submission_labels_label_id ON submission_labels (label_id);--
CREATE INDEX ix_prompt_tags_prompt_id ON prompt_tags (prompt_id);--
