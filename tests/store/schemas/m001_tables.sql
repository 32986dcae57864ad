BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'openai_batch','m001_tables','2026-11-29 09:19:30.452459+00:00');
CREATE TABLE movies (
  id INTEGER PRIMARY KEY,
  title TEXT,
  year INTEGER,
  director TEXT,
  runtime INTEGER,
  genre TEXT,
  overview TEXT
, "city" TEXT, "country" TEXT);
INSERT INTO "movies" VALUES(12,'City of God',2002,'Fernando Meirelles, Kátia Lund',130,'Crime, Drama','Two boys grow up in the same poor district on the edge of Rio de Janeiro. One picks up a camera and the other a gun, and the first tells how the second came to rule the streets.','Rio de Janeiro','Brazil');
INSERT INTO "movies" VALUES(17,'A Separation',2011,'Asghar Farhadi',123,'Drama','A couple in Tehran disagrees about leaving the country, and the wife moves out. The husband hires a carer for his sick father, an accident follows, and two families are caught between pride, fear and the law.','Tehran','Iran');
INSERT INTO "movies" VALUES(21,'Tokyo Story',1953,'Yasujirō Ozu',136,'Drama','An elderly couple travels to Tokyo to visit their grown children, who are kind but too busy. Only the widow of their dead son finds time for them, and small disappointments say more than quarrels would.','Tokyo','Japan');
INSERT INTO "movies" VALUES(32,'Children of Heaven',1997,'Majid Majidi',89,'Drama, Family','A boy in Tehran loses his sister''s only pair of shoes, and the family cannot afford new ones. The two share his sneakers, running to swap them between school shifts, until a race with the right third prize is announced.','Tbilan','Iran');
INSERT INTO "movies" VALUES(40,'Monsoon Wedding',2001,'Mira Nair',114,'Comedy, Drama, Romance','Relatives from three continents gather in Delhi for a wedding that was arranged within weeks. Between tents, telephones and downpours, the bride has second thoughts and an old family secret comes out.','Delhi','India');
INSERT INTO "movies" VALUES(47,'Shoplifters',2018,'Hirokazu Kore-eda',121,'Crime, Drama','A makeshift family in Tokyo lives on a grandmother''s pension and what father and son can steal. One cold evening they take home a neglected little girl, and happiness makes them careless.','Tokyo','Japan');
INSERT INTO "movies" VALUES(48,'Drive My Car',2021,'Ryusuke Hamaguchi',179,'Drama','A theatre director who lost his wife stages a play in Hiroshima and is given a silent young woman as his driver. On the long ways to rehearsal, in an old red car, both begin to speak about guilt.','Hiroshima','Japan');
INSERT INTO "movies" VALUES(63,'Tsotsi',2005,'Gavin Hood',94,'Crime, Drama','A young gang leader in a Johannesburg township steals a car and finds a baby on the back seat. For reasons he cannot name he keeps it, and has to learn what it needs.','Johannesburg','South Africa');
INSERT INTO "movies" VALUES(66,'Central Station',1998,'Walter Salles',110,'Drama','A sour retired teacher writes letters for people who cannot, and rarely posts them. When a customer is killed outside Rio''s main station, she travels across Brazil with the woman''s son to find his father.','Rio de Janeiro','Brazil');
INSERT INTO "movies" VALUES(69,'Amores perros',2000,'Alejandro G. Iñárritu',154,'Crime, Drama, Thriller','A car crash in Mexico City ties together three lives: a youth who fights his dog for money, a model and a hired killer. In each story love is mixed with cruelty, and a dog is never far away.','Mexico','Mexico');
INSERT INTO "movies" VALUES(70,'Roma',2018,'Alfonso Cuarón',135,'Drama','A maid keeps a middle-class household in the Mexico City of 1970 running while her employers'' marriage ends. Her own life changes as well, and the noise of politics comes into a furniture shop.','Mexico City','Mexico');
INSERT INTO "movies" VALUES(80,'Bicycle Thieves',1948,'Vittorio De Sica',89,'Drama','In poor post-war Rome a man gets a job pasting posters, for which he needs a bicycle, and it is stolen on the first day. With his little son he searches the city, and despair brings him close to doing wrong himself.','Rome','Italy');
INSERT INTO "movies" VALUES(89,'La Haine',1995,'Mathieu Kassovitz',98,'Crime, Drama','After a night of riots three friends from a housing estate near Paris have nothing to do for a day. One of them has found a policeman''s lost revolver and says that he will use it if their injured friend dies.','Paris','Japan');
INSERT INTO "movies" VALUES(93,'All About My Mother',1999,'Pedro Almodóvar',101,'Drama','A nurse in Madrid loses her son on his birthday and travels to Barcelona to find the father who never knew of him. Around her gathers a family of women, some of them actresses, all of them good at surviving.','Madrid','Spain');
INSERT INTO "movies" VALUES(95,'Wings of Desire',1987,'Wim Wenders',128,'Drama, Fantasy, Romance','Angels in long coats walk through divided Berlin and listen to the thoughts of its people. One of them falls in love with a trapeze artist and wants to know what coffee tastes like.','Berlin','Germany');
CREATE TABLE openai_batch_answers (
    -- What a row was answered before it was asked again: nothing that was paid for is lost.
    id INTEGER PRIMARY KEY,  -- number of the answer; a row's history goes by it
    request_id INTEGER NOT NULL,  -- the row, by its request, which holds the answer that counts
    job_id INTEGER NOT NULL,  -- its job
    part_id INTEGER,  -- part that brought it
    status TEXT NOT NULL,  -- its outcome
    answer,  -- text, JSON under a schema
    error_code TEXT,  -- HTTP status and the provider's code
    error_message TEXT,  -- the provider's words, or ours
    finish_reason TEXT,  -- as the provider said it
    model TEXT,  -- model that gave it, with its date
    prompt_tokens INTEGER,  -- input tokens
    cached_tokens INTEGER,  -- of those, billed at the lower price
    completion_tokens INTEGER,  -- output tokens
    reasoning_tokens INTEGER,  -- of those, spent on reasoning
    write_status TEXT,  -- what became of it when it was written
    previous TEXT,  -- JSON: what write-back replaced, and a hash of what it wrote
    why TEXT NOT NULL,  -- asked again by retry, repair or sync; replaced by late or vote; unused
    standing INTEGER NOT NULL DEFAULT 0,  -- 1 while it counts: until a better one has come
    at TEXT NOT NULL  -- when the row was asked again
);
CREATE TABLE openai_batch_batches (
    -- One attempt to get a part to the provider; makes at most one batch.
    id INTEGER PRIMARY KEY,  -- number of the send in this database
    part_id INTEGER NOT NULL,  -- its part
    send INTEGER NOT NULL,  -- 1 to n within the part
    token TEXT NOT NULL,  -- the part's uid, number and send, as the provider's metadata holds it
    fingerprint BLOB NOT NULL,  -- XXH3-128 of the file sent
    input_file_id TEXT,  -- file of its requests at the provider
    batch_id TEXT UNIQUE,  -- NULL until the provider has said it
    status TEXT,  -- as last seen, word for word
    errors TEXT,  -- JSON: as the provider gave them
    created_at TEXT NOT NULL,  -- when it was recorded, before anything was sent
    ended_at TEXT  -- when it was taken in
);
INSERT INTO "openai_batch_batches" VALUES(1,1,1,'3nkx9o1f88-1-1',X'DD1DFD5C880681115AC57307AFB434CD','file-WUtTuqD77KzNei0Ml1WeaP','batch_474903abf0093a70baf1e17a25ce3282','completed',NULL,'2026-11-29T09:19:31.519Z','2026-11-29T09:19:31.000Z');
CREATE TABLE openai_batch_drafts (
    token TEXT PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    actor TEXT,
    status TEXT NOT NULL,
    options TEXT NOT NULL,
    form TEXT,
    rows INTEGER,
    cost_nanousd INTEGER,
    hash BLOB,
    look TEXT,
    tried TEXT,
    wish TEXT,
    message TEXT,
    job_id INTEGER,
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    lease_owner TEXT,
    lease_until TEXT
);
CREATE TABLE openai_batch_jobs (
    -- One template over one source: all its requests, parts, answers and costs.
    id INTEGER PRIMARY KEY,  -- number of the job, as commands and pages name it
    uid TEXT NOT NULL UNIQUE,  -- short random text; begins each custom_id of the job
    name TEXT,  -- what --name gave; may repeat, the newest wins
    status TEXT NOT NULL,  -- prepared, running, completed, paused, cancelling, cancelled or failed
    source TEXT,  -- table or view that is asked about; NULL for a query
    source_sql TEXT,  -- the query of --sql
    source_params TEXT,  -- JSON: its parameters by name
    key_columns TEXT NOT NULL,  -- JSON: the columns of the row key
    endpoint TEXT NOT NULL,  -- path of the API, such as /v1/chat/completions
    model TEXT,  -- model asked; what answered is with each request
    template TEXT NOT NULL,  -- JSON: the whole request body, placeholders in it
    template_hash BLOB NOT NULL,  -- tells this template from others
    answer_schema TEXT,  -- JSON: the schema that answers are checked against
    output TEXT NOT NULL,  -- JSON: table and columns that answers are written to
    created_columns TEXT,  -- JSON: columns and tables that this job made, for revert
    provider TEXT NOT NULL,  -- openai, azure or local
    base_url TEXT,  -- server that the rows go to
    account TEXT,  -- host, a keyed hash of the key, and organisation or project
    options TEXT NOT NULL DEFAULT '{}',  -- JSON: rows chosen, limits, prices, what was typed
    requests INTEGER,  -- how many rows are asked about; NULL while it is being prepared
    skipped INTEGER,  -- blank rows, which aren't asked about
    estimated_input_tokens INTEGER,  -- counted or sampled before anything was sent
    estimated_cost_nanousd INTEGER,  -- what it was thought to cost
    upper_cost_nanousd INTEGER,  -- the most that it can cost; NULL where nothing bounds it
    max_cost_nanousd INTEGER,  -- the ceiling of --max-cost
    cost_nanousd INTEGER,  -- sum over its parts; NULL while one is unknown
    created_at TEXT NOT NULL,  -- when it was prepared
    approved_at TEXT,  -- when a person said that it may be sent
    submitted_at TEXT,  -- when its first batch was made
    checked_at TEXT,  -- when a pass last asked the provider
    finished_at TEXT,  -- when it ended
    message TEXT,  -- why it is paused or failed, and the command that mends it
    lease_owner TEXT,  -- process that works on it now
    lease_until TEXT,  -- until when the job is that process's
    versions TEXT  -- JSON: versions of the programs that made it
);
INSERT INTO "openai_batch_jobs" VALUES(1,'3nkx9o1f88','demo-model','completed','movies',NULL,NULL,'["id"]','/v1/chat/completions','SmolLM2-135M-Instruct','{"model":"SmolLM2-135M-Instruct","messages":[{"role":"user","content":"{{ overview }}"}],"response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":{"type":"object","properties":{"city":{"type":"string"},"country":{"type":"string","enum":["Japan","Iran","India","Italy","France","Spain","Germany","Mexico","Brazil","South Africa"]}},"required":["city","country"],"additionalProperties":false}}},"temperature":0}',X'5199099F61B2218434EE5D89AE977D20','{"type":"object","properties":{"city":{"type":"string"},"country":{"type":"string","enum":["Japan","Iran","India","Italy","France","Spain","Germany","Mexico","Brazil","South Africa"]}},"required":["city","country"],"additionalProperties":false}','{"table": null, "columns": [{"name": "city", "type": "TEXT", "property": "city"}, {"name": "country", "type": "TEXT", "property": "country"}], "replace": false, "write": true, "responses": "all"}','["city", "country"]','local',NULL,'local','{"where": "id in (12, 17, 21, 32, 40, 47, 48, 63, 66, 69, 70, 80, 89, 93, 95)", "blanks": "skip", "reads": ["overview"], "recipe": {"table": "movies", "where": "id in (12, 17, 21, 32, 40, 47, 48, 63, 66, 69, 70, 80, 89, 93, 95)", "prompt": "{{ overview }}", "options": [["temperature", "0"]], "schema": "city, country Japan|Iran|India|Italy|France|Spain|Germany|Mexico|Brazil|South Africa", "name": "demo-model", "local": true}, "estimate": {"how": "bytes", "low": 1363, "high": 4088, "output_tokens": null, "earlier_job": null, "cap": null, "cap_source": "none", "same": 0}}',15,0,2044,NULL,NULL,NULL,NULL,'2026-11-29T09:19:30.488Z','2026-11-29T09:19:31.079Z','2026-11-29T09:19:31.840Z','2026-11-29T09:19:33.526Z','2026-11-29T09:19:33.611Z',NULL,NULL,NULL,'{"sqlite-utils-openai-batch": "0.1a0", "sqlite-utils": "4.2.1", "openai": "3.57.0", "jinja2": "3.1.6", "sqlite": "3.40.1"}');
CREATE TABLE openai_batch_limits (
    -- What providers said about their limits.
    account TEXT NOT NULL,  -- as in openai_batch_jobs
    model TEXT NOT NULL,  -- model that the limit is for
    kind TEXT NOT NULL,  -- such as enqueued_tokens
    value INTEGER NOT NULL,  -- the limit
    seen_at TEXT NOT NULL,  -- when it was seen
    source TEXT,  -- the provider's own words, or that somebody typed it
    PRIMARY KEY (account, model, kind)
);
CREATE TABLE openai_batch_log (
    -- What was done, and when.
    id INTEGER PRIMARY KEY,  -- number of the entry
    at TEXT NOT NULL,  -- when it was done
    job_id INTEGER,  -- the job that it is about
    part_id INTEGER,  -- the part that it is about
    event TEXT NOT NULL,  -- what was done
    detail TEXT  -- JSON
);
INSERT INTO "openai_batch_log" VALUES(1,'2026-11-29T09:19:30.677Z',1,NULL,'prepared','{"requests": 15, "parts": 1}');
INSERT INTO "openai_batch_log" VALUES(2,'2026-11-29T09:19:31.080Z',1,NULL,'approved',NULL);
INSERT INTO "openai_batch_log" VALUES(3,'2026-11-29T09:19:31.519Z',1,1,'intent','{"token": "3nkx9o1f88-1-1", "fingerprint": "dd1dfd5c880681115ac57307afb434cd", "lines": 15, "ids": "73e573bc99e0e0750499642876b5b809"}');
INSERT INTO "openai_batch_log" VALUES(4,'2026-11-29T09:19:31.683Z',1,1,'uploaded','{"file": "file-WUtTuqD77KzNei0Ml1WeaP"}');
INSERT INTO "openai_batch_log" VALUES(5,'2026-11-29T09:19:31.840Z',1,1,'created','{"batch": "batch_474903abf0093a70baf1e17a25ce3282", "token": "3nkx9o1f88-1-1"}');
INSERT INTO "openai_batch_log" VALUES(6,'2026-11-29T09:19:33.419Z',1,1,'collected','{"batch": "batch_474903abf0093a70baf1e17a25ce3282", "lines": 15}');
INSERT INTO "openai_batch_log" VALUES(7,'2026-11-29T09:19:33.611Z',1,NULL,'completed',NULL);
CREATE TABLE openai_batch_parts (
    -- A run of a job's requests that goes out as one JSONL file.
    id INTEGER PRIMARY KEY,  -- number of the part in this database
    job_id INTEGER NOT NULL,  -- its job
    number INTEGER NOT NULL,  -- 1 to n within the job; retries go on counting
    status TEXT NOT NULL,  -- prepared, uploading, uploaded, creating, then as the provider says
    requests INTEGER NOT NULL,  -- lines of its file
    bytes INTEGER NOT NULL,  -- size of its file, rendered as the rows were
    estimated_tokens INTEGER,  -- input tokens, for the provider's queue
    upper_cost_nanousd INTEGER,  -- the most that it can cost; NULL where nothing bounds it
    cost_nanousd INTEGER,  -- what its batches reported, priced; NULL for unknown
    sends INTEGER NOT NULL DEFAULT 0,  -- attempts to get it to the provider
    overrides TEXT,  -- JSON: changes to the body by retry --set; $repair: answers go back
    fingerprint BLOB,  -- XXH3-128 of its newest file
    token TEXT,  -- of its newest send; the provider's metadata holds it too
    intent_at TEXT,  -- when that send was about to begin
    next_try_at TEXT,  -- not to be sent before
    input_file_id TEXT,  -- of the newest send
    batch_id TEXT,  -- of the newest send
    output_file_id TEXT,  -- file of its answers at the provider
    error_file_id TEXT,  -- file of its failed requests at the provider
    completed INTEGER,  -- as the provider counts
    failed INTEGER,  -- as the provider counts
    outcomes TEXT NOT NULL DEFAULT '{}',  -- JSON: {outcome: how many requests}
    prompt_tokens INTEGER,  -- input tokens, as its batches reported
    cached_tokens INTEGER,  -- of the prompt tokens, those billed at the lower price
    completion_tokens INTEGER,  -- output tokens, as its batches reported
    reasoning_tokens INTEGER,  -- of the completion tokens
    errors TEXT,  -- JSON: why the provider refused the batch
    created_at TEXT NOT NULL,  -- when it was planned
    submitted_at TEXT,  -- when its batch was made
    in_progress_at TEXT,  -- when the provider began
    finalizing_at TEXT,  -- when the provider began to make its files
    ended_at TEXT,  -- when its batch ended
    expires_at TEXT,  -- when the provider gives its batch up
    collected_at TEXT,  -- when its answers were all here
    written_at TEXT,  -- when its answers were all written beside their rows
    lease_owner TEXT,  -- process that works on it now
    lease_until TEXT,  -- until when the part is that process's
    UNIQUE (job_id, number)
);
INSERT INTO "openai_batch_parts" VALUES(1,1,1,'completed',15,10668,2044,NULL,NULL,1,NULL,X'DD1DFD5C880681115AC57307AFB434CD','3nkx9o1f88-1-1','2026-11-29T09:19:31.519Z',NULL,'file-WUtTuqD77KzNei0Ml1WeaP','batch_474903abf0093a70baf1e17a25ce3282','file-ZJnVySjeoLW1VP2MG6mr0M',NULL,15,0,'{"ok": 15}',1541,708,427,0,NULL,'2026-11-29T09:19:30.576Z','2026-11-29T09:19:31.000Z','2026-11-29T09:19:31.000Z','2026-11-29T09:19:31.000Z','2026-11-29T09:19:31.000Z','2026-11-30T09:19:31.000Z','2026-11-29T09:19:33.399Z','2026-11-29T09:19:33.399Z',NULL,NULL);
CREATE TABLE openai_batch_requests (
    -- One row's question, and what became of it.
    id INTEGER PRIMARY KEY,  -- ends the custom_id: uid-id
    job_id INTEGER NOT NULL,  -- its job
    part_id INTEGER,  -- part of its newest send
    row_key,  -- the key value itself; a JSON array for a compound key
    source_hash BLOB,  -- over the values that the template read: tells an edited row
    status TEXT NOT NULL DEFAULT 'pending',  -- its outcome
    attempts INTEGER NOT NULL DEFAULT 0,  -- how often it was sent
    same_as INTEGER,  -- the request whose answer this one shares (--reuse)
    answer,  -- text, JSON under a schema, or a BLOB of 32-bit floats for an embedding
    error_code TEXT,  -- HTTP status and the provider's code
    error_message TEXT,  -- the provider's words, or ours; a note where the outcome is ok
    finish_reason TEXT,  -- as the provider said it
    model TEXT,  -- model that answered, with its date
    prompt_tokens INTEGER,  -- input tokens
    cached_tokens INTEGER,  -- of those, billed at the lower price
    completion_tokens INTEGER,  -- output tokens
    reasoning_tokens INTEGER,  -- of those, spent on reasoning
    write_status TEXT,  -- NULL, written, kept_existing, stale or row_gone
    previous TEXT  -- JSON: what write-back replaced, and a hash of what it wrote
);
INSERT INTO "openai_batch_requests" VALUES(1,1,1,12,X'F0B7A5C113B2E6C7E32D15124A9E5361','ok',1,NULL,'{
  "city": "Rio de Janeiro",
  "country": "Brazil"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',101,0,24,0,'written','{"wrote": "13977f44874161c1d3690be653b99cdb"}');
INSERT INTO "openai_batch_requests" VALUES(2,1,1,17,X'AC9B66741BA8441B093B291105220D66','ok',1,NULL,'{
  "city": "Tehran",
  "country": "Iran"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',106,0,22,0,'written','{"wrote": "8d0ff9a47b67eb2718a157109b53a3ab"}');
INSERT INTO "openai_batch_requests" VALUES(3,1,1,21,X'8F27ACCDDDBAD65E78B088FE31337952','ok',1,NULL,'{
  "city": "Tokyo",
  "country": "Japan"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',102,54,21,0,'written','{"wrote": "056ee1212f6f0948c059788d07d405c7"}');
INSERT INTO "openai_batch_requests" VALUES(4,1,1,32,X'70071FD99AD41CE8C8ADD62437BE5FA4','ok',1,NULL,'{
  "city": "Tbilan",
  "country": "Iran"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',107,54,23,0,'written','{"wrote": "8b95c9997547332bb5669dade5816566"}');
INSERT INTO "openai_batch_requests" VALUES(5,1,1,40,X'5CD9A3BECE3550E043C6E0990260B9B4','ok',1,NULL,'{
  "city": "Delhi",
  "country": "India"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',99,54,21,0,'written','{"wrote": "05d0dfc1de281e99fdf7d96d73c94c72"}');
INSERT INTO "openai_batch_requests" VALUES(6,1,1,47,X'F32048A417E56C69FCC011199809E56D','ok',1,NULL,'{
  "city": "Tokyo",
  "country": "Japan"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',96,55,22,0,'written','{"wrote": "056ee1212f6f0948c059788d07d405c7"}');
INSERT INTO "openai_batch_requests" VALUES(7,1,1,48,X'0C3A2F3A7656F98F479B8161B14BEC34','ok',1,NULL,'{
  "city": "Hiroshima",
  "country": "Japan"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',103,54,42,0,'written','{"wrote": "4a6a6dc17ad7331b17fd623c5e227683"}');
INSERT INTO "openai_batch_requests" VALUES(8,1,1,63,X'7FBD7D3BBC4AD20DBB85AF3EACAF5A82','ok',1,NULL,'{
  "city": "Johannesburg",
  "country": "South Africa"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',98,55,43,0,'written','{"wrote": "d5121ee20413b90ac7563b044bfd8c63"}');
INSERT INTO "openai_batch_requests" VALUES(9,1,1,66,X'AF97194572E520C369762F1E50B4649B','ok',1,NULL,'{
  "city": "Rio de Janeiro",
  "country": "Brazil"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',101,55,24,0,'written','{"wrote": "13977f44874161c1d3690be653b99cdb"}');
INSERT INTO "openai_batch_requests" VALUES(10,1,1,69,X'FE1E41F58F9E845007D79FBFF17E0AB3','ok',1,NULL,'{
  "city": "Mexico",
  "country": "Mexico"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',104,55,39,0,'written','{"wrote": "aafbe3c9eb4ab69e5868297738c18dea"}');
INSERT INTO "openai_batch_requests" VALUES(11,1,1,70,X'7734852BA898A6A1308CDFC3573F7C3D','ok',1,NULL,'{
  "city": "Mexico City",
  "country": "Mexico"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',104,55,22,0,'written','{"wrote": "0d7ee80b32e7a55be7de676a9cbbf2a0"}');
INSERT INTO "openai_batch_requests" VALUES(12,1,1,80,X'23D9609B391AFE1116AB672C286E867C','ok',1,NULL,'{
  "city": "Rome",
  "country": "Italy"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',110,54,40,0,'written','{"wrote": "f1b503676ed504e5bf6b6a2c11d488ec"}');
INSERT INTO "openai_batch_requests" VALUES(13,1,1,89,X'1086926211FC2D5B4FD4B9DE8B1AA429','ok',1,NULL,'{
  "city": "Paris",
  "country": "Japan"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',106,54,40,0,'written','{"wrote": "782838b039113ee1af3f5d71758d5428"}');
INSERT INTO "openai_batch_requests" VALUES(14,1,1,93,X'2202DE7607BA0FAB0E863E491E981FF2','ok',1,NULL,'{
  "city": "Madrid",
  "country": "Spain"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',105,55,22,0,'written','{"wrote": "615fb97315649fc2d24bef768de3817e"}');
INSERT INTO "openai_batch_requests" VALUES(15,1,1,95,X'7F2D0DADF90EAC9139B2CED64ED09AFF','ok',1,NULL,'{
  "city": "Berlin",
  "country": "Germany"
}',NULL,NULL,'stop','SmolLM2-135M-Instruct (demo model)',99,54,22,0,'written','{"wrote": "86576b2802936fe004a2ab751dcbefc1"}');
CREATE TABLE openai_batch_responses (
    -- Response lines as they came; only added to.
    id INTEGER PRIMARY KEY,  -- number of the line in this database
    request_id INTEGER,  -- NULL where no request has its custom_id
    part_id INTEGER,  -- the part whose file it stood in
    kind TEXT NOT NULL,  -- output, error, import or try
    file_id TEXT NOT NULL,  -- the file at the provider, or a name for one from elsewhere
    line_number INTEGER NOT NULL,  -- from 1
    line,  -- the bytes as received: TEXT where they are UTF-8, else BLOB
    received_at TEXT NOT NULL,  -- when it was taken in
    UNIQUE (file_id, line_number)
);
INSERT INTO "openai_batch_responses" VALUES(1,1,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',1,'{"id":"batch_req_f0093a70baf1e17a25ce328200000001","custom_id":"3nkx9o1f88-1","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000001","body":{"id":"chatcmpl-b28f22b2536ddcb38f2583d6","object":"chat.completion","created":1795297753,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Rio de Janeiro\",\n  \"country\": \"Brazil\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":101,"completion_tokens":24,"total_tokens":125,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(2,2,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',2,'{"id":"batch_req_f0093a70baf1e17a25ce328200000002","custom_id":"3nkx9o1f88-2","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000002","body":{"id":"chatcmpl-e0ab699893db2bb1aebe8008","object":"chat.completion","created":1795297749,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Tehran\",\n  \"country\": \"Iran\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":106,"completion_tokens":22,"total_tokens":128,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(3,3,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',3,'{"id":"batch_req_f0093a70baf1e17a25ce328200000003","custom_id":"3nkx9o1f88-3","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000003","body":{"id":"chatcmpl-f76430b9671bf729871a33f1","object":"chat.completion","created":1795297764,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Tokyo\",\n  \"country\": \"Japan\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":102,"completion_tokens":21,"total_tokens":123,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(4,4,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',4,'{"id":"batch_req_f0093a70baf1e17a25ce328200000004","custom_id":"3nkx9o1f88-4","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000004","body":{"id":"chatcmpl-61581cb957edef598975d4ff","object":"chat.completion","created":1795297772,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Tbilan\",\n  \"country\": \"Iran\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":107,"completion_tokens":23,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(5,5,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',5,'{"id":"batch_req_f0093a70baf1e17a25ce328200000005","custom_id":"3nkx9o1f88-5","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000005","body":{"id":"chatcmpl-e0ed82cb02dc7c8f045d7116","object":"chat.completion","created":1795297800,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Delhi\",\n  \"country\": \"India\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":99,"completion_tokens":21,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(6,6,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',6,'{"id":"batch_req_f0093a70baf1e17a25ce328200000006","custom_id":"3nkx9o1f88-6","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000006","body":{"id":"chatcmpl-ebddbbcac13b4d03071e88f1","object":"chat.completion","created":1795297810,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Tokyo\",\n  \"country\": \"Japan\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":96,"completion_tokens":22,"total_tokens":118,"prompt_tokens_details":{"cached_tokens":55,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(7,7,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',7,'{"id":"batch_req_f0093a70baf1e17a25ce328200000007","custom_id":"3nkx9o1f88-7","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000007","body":{"id":"chatcmpl-129b238818d6da4ca477f425","object":"chat.completion","created":1795297846,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Hiroshima\",\n  \"country\": \"Japan\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":103,"completion_tokens":42,"total_tokens":145,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(8,8,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',8,'{"id":"batch_req_f0093a70baf1e17a25ce328200000008","custom_id":"3nkx9o1f88-8","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000008","body":{"id":"chatcmpl-e9d6ae925a0f58a856a9e99d","object":"chat.completion","created":1795297857,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Johannesburg\",\n  \"country\": \"South Africa\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":98,"completion_tokens":43,"total_tokens":141,"prompt_tokens_details":{"cached_tokens":55,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(9,9,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',9,'{"id":"batch_req_f0093a70baf1e17a25ce328200000009","custom_id":"3nkx9o1f88-9","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce328200000009","body":{"id":"chatcmpl-c082961a10a34d1cda417ac5","object":"chat.completion","created":1795297883,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Rio de Janeiro\",\n  \"country\": \"Brazil\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":101,"completion_tokens":24,"total_tokens":125,"prompt_tokens_details":{"cached_tokens":55,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(10,10,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',10,'{"id":"batch_req_f0093a70baf1e17a25ce32820000000a","custom_id":"3nkx9o1f88-10","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce32820000000a","body":{"id":"chatcmpl-96eb4b92861cbbbbe07dfdfc","object":"chat.completion","created":1795297905,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Mexico\",\n  \"country\": \"Mexico\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":104,"completion_tokens":39,"total_tokens":143,"prompt_tokens_details":{"cached_tokens":55,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(11,11,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',11,'{"id":"batch_req_f0093a70baf1e17a25ce32820000000b","custom_id":"3nkx9o1f88-11","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce32820000000b","body":{"id":"chatcmpl-3820af29b33508d4dab0c356","object":"chat.completion","created":1795297918,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Mexico City\",\n  \"country\": \"Mexico\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":104,"completion_tokens":22,"total_tokens":126,"prompt_tokens_details":{"cached_tokens":55,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(12,12,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',12,'{"id":"batch_req_f0093a70baf1e17a25ce32820000000c","custom_id":"3nkx9o1f88-12","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce32820000000c","body":{"id":"chatcmpl-afaa125bd161174fd7787416","object":"chat.completion","created":1795297960,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Rome\",\n  \"country\": \"Italy\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":110,"completion_tokens":40,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(13,13,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',13,'{"id":"batch_req_f0093a70baf1e17a25ce32820000000d","custom_id":"3nkx9o1f88-13","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce32820000000d","body":{"id":"chatcmpl-57142066e05e49033149d761","object":"chat.completion","created":1795297966,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Paris\",\n  \"country\": \"Japan\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":106,"completion_tokens":40,"total_tokens":146,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(14,14,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',14,'{"id":"batch_req_f0093a70baf1e17a25ce32820000000e","custom_id":"3nkx9o1f88-14","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce32820000000e","body":{"id":"chatcmpl-1857873aba80654325874a69","object":"chat.completion","created":1795297986,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Madrid\",\n  \"country\": \"Spain\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":105,"completion_tokens":22,"total_tokens":127,"prompt_tokens_details":{"cached_tokens":55,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
INSERT INTO "openai_batch_responses" VALUES(15,15,1,'output','file-ZJnVySjeoLW1VP2MG6mr0M',15,'{"id":"batch_req_f0093a70baf1e17a25ce32820000000f","custom_id":"3nkx9o1f88-15","response":{"status_code":200,"request_id":"req_f0093a70baf1e17a25ce32820000000f","body":{"id":"chatcmpl-84e1aaef44ded75b77d7b330","object":"chat.completion","created":1795297989,"model":"SmolLM2-135M-Instruct (demo model)","choices":[{"index":0,"message":{"role":"assistant","content":"{\n  \"city\": \"Berlin\",\n  \"country\": \"Germany\"\n}","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":99,"completion_tokens":22,"total_tokens":121,"prompt_tokens_details":{"cached_tokens":54,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_demo_model"}},"error":null}','2026-11-29T09:19:33.253Z');
CREATE TABLE openai_batch_reviews (
    -- What people say of a row; only added to, and the newest of each coder counts.
    id INTEGER PRIMARY KEY,  -- number of the review
    job_id INTEGER NOT NULL,  -- its job
    request_id INTEGER NOT NULL,  -- the row, by its request
    column TEXT NOT NULL,  -- property of the answer; answer where answers have no schema
    value,  -- what the coder says, as the answer's column would hold it
    skipped INTEGER NOT NULL DEFAULT 0,  -- 1 where the coder gave no value, or took it back
    note TEXT,  -- what the coder wrote beside it
    coder TEXT NOT NULL,  -- who says so: a name, or an actor of Datasette
    blind INTEGER,  -- 1 where the answer was hidden until then; NULL where that isn't known
    seconds REAL,  -- how long the coder took; NULL where it isn't known
    at TEXT NOT NULL  -- when it was said
);
CREATE TABLE openai_batch_samples (
    -- Rows of a job that were chosen for people to label.
    id INTEGER PRIMARY KEY,  -- number of the sample
    job_id INTEGER NOT NULL,  -- its job
    kind TEXT NOT NULL,  -- random, or how they were chosen: status, least_sure or differ
    seed INTEGER,  -- of a random sample: the same seed draws the same rows
    size INTEGER NOT NULL,  -- how many rows were asked for
    population INTEGER NOT NULL,  -- how many rows they were chosen from
    blind INTEGER NOT NULL,  -- 1 where the answers were hidden from who labelled
    requests TEXT NOT NULL,  -- JSON: ids of the requests, in the order in which they are labelled
    created_at TEXT NOT NULL  -- when it was drawn
);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX openai_batch_batches_part ON openai_batch_batches (part_id);
CREATE INDEX openai_batch_answers_request ON openai_batch_answers (request_id);
CREATE INDEX openai_batch_answers_job ON openai_batch_answers (job_id);
CREATE INDEX openai_batch_requests_part ON openai_batch_requests (part_id);
CREATE INDEX openai_batch_requests_row ON openai_batch_requests (job_id, row_key);
CREATE INDEX openai_batch_requests_status
    ON openai_batch_requests (job_id, status, error_code)
    WHERE status NOT IN ('pending', 'ok');
CREATE INDEX openai_batch_responses_request
    ON openai_batch_responses (request_id);
CREATE INDEX openai_batch_reviews_request ON openai_batch_reviews (request_id);
CREATE INDEX openai_batch_reviews_job ON openai_batch_reviews (job_id, coder);
CREATE VIEW openai_batch_reviewed AS
-- What most coders say of a row, by the newest of each; where as many say another, nothing.
SELECT
    request_id AS request_id,  -- id in openai_batch_requests
    json_group_object(
        column, CASE WHEN json_valid(value) AND value LIKE '[%' THEN json(value) ELSE value END
    ) AS labels  -- JSON: the value by column
FROM (
    SELECT request_id, column, value FROM (
        SELECT
            request_id, column, value, count(*) AS voices,
            max(count(*)) OVER (PARTITION BY request_id, column) AS most
        FROM openai_batch_reviews
        WHERE NOT skipped AND id IN (
            SELECT max(id) FROM openai_batch_reviews GROUP BY request_id, column, coder
        )
        GROUP BY request_id, column, value
    )
    WHERE voices = most
    GROUP BY request_id, column HAVING count(*) = 1
)
GROUP BY request_id;
CREATE VIEW openai_batch_results AS
-- A row for each request, for people who write SQL.
SELECT
    requests.id AS request_id,  -- id in openai_batch_requests
    requests.job_id AS job_id,  -- id in openai_batch_jobs
    jobs.name AS job_name,  -- what --name gave
    jobs.source AS source,  -- table or view of the job
    requests.row_key AS row_key,  -- primary key of the row
    requests.status AS status,  -- outcome
    requests.write_status AS write_status,  -- whether the answer was written beside its row
    requests.answer AS answer,  -- text, JSON under a schema, or a BLOB
    reviewed.labels AS reviewed,  -- JSON: what people say, by column; NULL where nobody did
    CASE
        WHEN reviewed.labels IS NULL THEN requests.answer
        WHEN jobs.answer_schema IS NULL THEN json_extract(reviewed.labels, '$.answer')
        ELSE json_patch(
            CASE WHEN requests.status = 'ok' AND json_valid(requests.answer)
            THEN requests.answer ELSE '{}' END,
            reviewed.labels
        )
    END AS final,  -- the answer, with what people say in the place of what the model says
    requests.error_code AS error_code,  -- HTTP status and the provider's code
    CASE WHEN requests.status <> 'ok' THEN requests.error_message END
    AS error_message,  -- NULL where the outcome is ok
    requests.finish_reason AS finish_reason,  -- as the provider said it
    requests.model AS model,  -- model that answered
    requests.prompt_tokens AS prompt_tokens,  -- input tokens
    requests.cached_tokens AS cached_tokens,  -- of those, billed at the lower price
    requests.completion_tokens AS completion_tokens,  -- output tokens
    requests.reasoning_tokens AS reasoning_tokens,  -- of those, spent on reasoning
    (
        SELECT (
            max(requests.prompt_tokens - coalesce(requests.cached_tokens, 0), 0)
                * json_extract(band.value, '$.input')
            + min(requests.prompt_tokens, coalesce(requests.cached_tokens, 0))
                * json_extract(band.value, '$.cached')
            + coalesce(requests.completion_tokens, 0) * json_extract(band.value, '$.output')
        ) / 1e6
        FROM json_each(
            CASE
                -- a retry may have asked another model, whose prices were stored then
                WHEN coalesce(json_extract(parts.overrides, '$.model'), jobs.model) IS jobs.model
                THEN json_extract(jobs.options, '$.prices')
                ELSE (
                    SELECT other.value FROM json_each(jobs.options, '$.model_prices') AS other
                    WHERE other.key = json_extract(parts.overrides, '$.model')
                )
            END,
            '$.bands'
        ) AS band
        WHERE json_extract(band.value, '$.above') < max(requests.prompt_tokens, 1)
        ORDER BY json_extract(band.value, '$.above') DESC LIMIT 1
    ) AS cost_usd  -- by the prices that the job was made with
FROM openai_batch_requests AS requests
JOIN openai_batch_jobs AS jobs ON jobs.id = requests.job_id
LEFT JOIN openai_batch_parts AS parts ON parts.id = requests.part_id
LEFT JOIN openai_batch_reviewed AS reviewed ON reviewed.request_id = requests.id;
COMMIT;
