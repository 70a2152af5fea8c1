-- Tables of version 2, as it made and filled them; see tests/migrated.py.
CREATE TABLE workflow (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE definition (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE run (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    workflow INTEGER NOT NULL REFERENCES workflow(key),
    definition INTEGER NOT NULL REFERENCES definition(key),
    graph_signature TEXT NOT NULL,
    UNIQUE (workflow, id, definition, graph_signature)
);
CREATE TABLE checkpoint (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    parent INTEGER REFERENCES checkpoint(position) CHECK (parent < position),
    workflow INTEGER NOT NULL REFERENCES workflow(key),
    definition INTEGER NOT NULL REFERENCES definition(key),
    run INTEGER NOT NULL REFERENCES run(key),
    sequence INTEGER NOT NULL,
    superstep INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- microseconds since 1970-01-01 UTC
    derived_from TEXT,
    format_version INTEGER NOT NULL,
    is_full INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (workflow, sequence)
);
CREATE INDEX checkpoint_by_parent ON checkpoint (parent);
CREATE INDEX checkpoint_by_definition ON checkpoint (definition);
CREATE TABLE lease (
    epoch INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    host TEXT NOT NULL,
    process TEXT NOT NULL,
    ttl REAL NOT NULL, -- seconds
    acquired REAL NOT NULL, -- seconds since 1970-01-01 UTC
    expires REAL NOT NULL
);
CREATE TABLE journal (
    workflow INTEGER NOT NULL REFERENCES workflow(key),
    follows INTEGER NOT NULL, -- position of a checkpoint, or 0
    place INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (workflow, follows, place)
);
CREATE INDEX checkpoint_by_run ON checkpoint (run);
PRAGMA application_id = 1633907814;
PRAGMA user_version = 2;
INSERT INTO workflow (key, id) VALUES (1, 'pruned');
INSERT INTO workflow (key, id) VALUES (2, 'under-way');
INSERT INTO definition (key, name) VALUES (1, 'migrated');
INSERT INTO run (key, id, workflow, definition, graph_signature) VALUES (1, 'bbe3606315ca45cf9c8bd756fa878291', 1, 1, 'd688376e329578c35a01a45b9679e6fc');
INSERT INTO run (key, id, workflow, definition, graph_signature) VALUES (2, '1a9e592228b048d29faeb0d9ecdd2e8d', 2, 1, 'd688376e329578c35a01a45b9679e6fc');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (12, 'bbe3606315ca45cf9c8bd756fa878291-12', NULL, 1, 1, 1, 12, 11, 1, 1795550373828510, 'bbe3606315ca45cf9c8bd756fa878291-11', 1, 1, x'918aa9696e666c696768742fc4249294a46c656674c4010691a573706c6974c094a57269676874c4010691a573706c6974c0a472756e2fc42492d920626265333630363331356361343563663963386264373536666138373832393100a6636861696e2fc405920bcd043ba973746174652f73756dc40115a96f7574707574732f32c4379293a46c656674c40cab6c65667420313a205b315da66f757470757493a57269676874c40baa726967687420313a2031a66f7574707574ad6578656375746f722f6c656674c406950102030405a96f7574707574732f34c43a9293a46c656674c40fae6c65667420323a205b312c20325da66f757470757493a57269676874c40baa726967687420323a2033a66f7574707574a96f7574707574732f36c43d9293a46c656674c412b16c65667420333a205b312c20322c20335da66f757470757493a57269676874c40baa726967687420333a2036a66f7574707574a96f7574707574732f38c4419293a46c656674c415b46c65667420343a205b312c20322c20332c20345da66f757470757493a57269676874c40cab726967687420343a203130a66f7574707574aa6f7574707574732f3130c4449293a46c656674c418b76c65667420353a205b312c20322c20332c20342c20355da66f757470757493a57269676874c40cab726967687420353a203135a66f7574707574');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (13, 'bbe3606315ca45cf9c8bd756fa878291-13', 12, 1, 1, 1, 13, 12, 1, 1795550373829892, NULL, 1, 0, x'9184a6636861696e2fc405920ccd0488aa6f7574707574732f3132c4479293a46c656674c41bba6c65667420363a205b312c20322c20332c20342c20352c20365da66f757470757493a57269676874c40cab726967687420363a203231a66f7574707574ad6578656375746f722f6c656674c40796010203040506a9696e666c696768742fc40190');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (14, '1a9e592228b048d29faeb0d9ecdd2e8d-1', NULL, 2, 1, 2, 1, 0, 0, 1795550373845555, NULL, 1, 1, x'9182a9696e666c696768742fc40d9194a573706c6974c4010190c0a472756e2fc42492d920316139653539323232386230343864323966616562306439656364643265386400');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (15, '1a9e592228b048d29faeb0d9ecdd2e8d-2', 14, 2, 1, 2, 2, 1, 1, 1795550373862897, NULL, 1, 0, x'9183a6636861696e2fc403920100a973746174652f73756dc40101a9696e666c696768742fc4249294a46c656674c4010191a573706c6974c094a57269676874c4010191a573706c6974c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (16, '1a9e592228b048d29faeb0d9ecdd2e8d-3', 15, 2, 1, 2, 3, 2, 1, 1795550373884483, NULL, 1, 0, x'9184a6636861696e2fc40392024ba96f7574707574732f32c4379293a46c656674c40cab6c65667420313a205b315da66f757470757493a57269676874c40baa726967687420313a2031a66f7574707574ad6578656375746f722f6c656674c4029101a9696e666c696768742fc4139194a573706c6974c4010291a57269676874c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (17, '1a9e592228b048d29faeb0d9ecdd2e8d-4', 16, 2, 1, 2, 4, 3, 1, 1795550373889093, NULL, 1, 0, x'9183a6636861696e2fc4049203cccda973746174652f73756dc40103a9696e666c696768742fc4249294a46c656674c4010291a573706c6974c094a57269676874c4010291a573706c6974c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (18, '1a9e592228b048d29faeb0d9ecdd2e8d-5', 17, 2, 1, 2, 5, 4, 1, 1795550373904398, NULL, 1, 0, x'9184a6636861696e2fc4059204cd0119a96f7574707574732f34c43a9293a46c656674c40fae6c65667420323a205b312c20325da66f757470757493a57269676874c40baa726967687420323a2033a66f7574707574ad6578656375746f722f6c656674c403920102a9696e666c696768742fc4139194a573706c6974c4010391a57269676874c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (19, '1a9e592228b048d29faeb0d9ecdd2e8d-6', 18, 2, 1, 2, 6, 5, 1, 1795550373912331, NULL, 1, 0, x'9183a6636861696e2fc4059205cd01a1a973746174652f73756dc40106a9696e666c696768742fc4249294a46c656674c4010391a573706c6974c094a57269676874c4010391a573706c6974c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (20, '1a9e592228b048d29faeb0d9ecdd2e8d-7', 19, 2, 1, 2, 7, 6, 1, 1795550373932439, NULL, 1, 0, x'9184a6636861696e2fc4059206cd01eea96f7574707574732f36c43d9293a46c656674c412b16c65667420333a205b312c20322c20335da66f757470757493a57269676874c40baa726967687420333a2036a66f7574707574ad6578656375746f722f6c656674c40493010203a9696e666c696768742fc4139194a573706c6974c4010491a57269676874c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, is_full, payload) VALUES (21, '1a9e592228b048d29faeb0d9ecdd2e8d-8', 20, 2, 1, 2, 8, 7, 1, 1795550373940327, NULL, 1, 0, x'9183a6636861696e2fc4059207cd027aa973746174652f73756dc4010aa9696e666c696768742fc4249294a46c656674c4010491a573706c6974c094a57269676874c4010491a573706c6974c0');
INSERT INTO lease (epoch, workflow_id, owner, host, process, ttl, acquired, expires) VALUES (2, 'under-way', '1a9e592228b048d29faeb0d9ecdd2e8d', 'elsewhere (process 1)', '', 30.0, 1700000000.0, 1700000030.0);
INSERT INTO journal (workflow, follows, place, payload) VALUES (2, 21, 0, x'9690909193a46c656674c415b46c65667420343a205b312c20322c20332c20345da66f75747075749090c4059401020304');
