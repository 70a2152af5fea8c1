-- Tables of version 3, as it made and filled them; see tests/migrated.py.
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
    digest BLOB,
    seal BLOB,
    is_full INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (workflow, sequence)
);
CREATE INDEX checkpoint_by_parent ON checkpoint (parent);
CREATE INDEX checkpoint_by_definition ON checkpoint (definition);
CREATE INDEX checkpoint_by_run ON checkpoint (run);
PRAGMA application_id = 1633907814;
PRAGMA user_version = 3;
INSERT INTO workflow (key, id) VALUES (1, 'pruned');
INSERT INTO workflow (key, id) VALUES (2, 'under-way');
INSERT INTO definition (key, name) VALUES (1, 'migrated');
INSERT INTO run (key, id, workflow, definition, graph_signature) VALUES (1, 'bbe3606315ca45cf9c8bd756fa878291', 1, 1, 'd688376e329578c35a01a45b9679e6fc');
INSERT INTO run (key, id, workflow, definition, graph_signature) VALUES (2, '1a9e592228b048d29faeb0d9ecdd2e8d', 2, 1, 'd688376e329578c35a01a45b9679e6fc');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (12, 'bbe3606315ca45cf9c8bd756fa878291-12', NULL, 1, 1, 1, 12, 11, 1, 1795550373828510, 'bbe3606315ca45cf9c8bd756fa878291-11', 1, x'0066eb705387db8519345e9c4e41a5cc12492fda9a5b20f3ce45345261bcc3d1', x'8a0b223eebc2eac75856713453915b885841ed98e0fa5b6a96fe2a17bb157d89', 1, x'918aa9696e666c696768742fc4249294a46c656674c4010691a573706c6974c094a57269676874c4010691a573706c6974c0a472756e2fc42492d920626265333630363331356361343563663963386264373536666138373832393100a6636861696e2fc405920bcd043ba973746174652f73756dc40115a96f7574707574732f32c4379293a46c656674c40cab6c65667420313a205b315da66f757470757493a57269676874c40baa726967687420313a2031a66f7574707574ad6578656375746f722f6c656674c406950102030405a96f7574707574732f34c43a9293a46c656674c40fae6c65667420323a205b312c20325da66f757470757493a57269676874c40baa726967687420323a2033a66f7574707574a96f7574707574732f36c43d9293a46c656674c412b16c65667420333a205b312c20322c20335da66f757470757493a57269676874c40baa726967687420333a2036a66f7574707574a96f7574707574732f38c4419293a46c656674c415b46c65667420343a205b312c20322c20332c20345da66f757470757493a57269676874c40cab726967687420343a203130a66f7574707574aa6f7574707574732f3130c4449293a46c656674c418b76c65667420353a205b312c20322c20332c20342c20355da66f757470757493a57269676874c40cab726967687420353a203135a66f7574707574');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (13, 'bbe3606315ca45cf9c8bd756fa878291-13', 12, 1, 1, 1, 13, 12, 1, 1795550373829892, NULL, 1, x'45a8042aba7ea4d2c7c89bd4d630c923d48891900126908ba9f0c3b7cddabb88', NULL, 0, x'9184a6636861696e2fc405920ccd0488aa6f7574707574732f3132c4479293a46c656674c41bba6c65667420363a205b312c20322c20332c20342c20352c20365da66f757470757493a57269676874c40cab726967687420363a203231a66f7574707574ad6578656375746f722f6c656674c40796010203040506a9696e666c696768742fc40190');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (14, '1a9e592228b048d29faeb0d9ecdd2e8d-1', NULL, 2, 1, 2, 1, 0, 0, 1795550373845555, NULL, 1, x'a32817b51ab7376237b27dd7d3b1fc81ad787f588aa2cb02d96c46f94e534d86', NULL, 1, x'9182a9696e666c696768742fc40d9194a573706c6974c4010190c0a472756e2fc42492d920316139653539323232386230343864323966616562306439656364643265386400');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (15, '1a9e592228b048d29faeb0d9ecdd2e8d-2', 14, 2, 1, 2, 2, 1, 1, 1795550373862897, NULL, 1, x'15f6d659afb4154264deae7be2e00835a01cf5f777677dd95fe9fb7dfa8a0177', NULL, 0, x'9183a6636861696e2fc403920100a973746174652f73756dc40101a9696e666c696768742fc4249294a46c656674c4010191a573706c6974c094a57269676874c4010191a573706c6974c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (16, '1a9e592228b048d29faeb0d9ecdd2e8d-3', 15, 2, 1, 2, 3, 2, 1, 1795550373884483, NULL, 1, x'e129e0a8f867a2df4151326acba0457ca5efee2206d80b57f92feae69e925b9d', NULL, 0, x'9184a6636861696e2fc40392024ba96f7574707574732f32c4379293a46c656674c40cab6c65667420313a205b315da66f757470757493a57269676874c40baa726967687420313a2031a66f7574707574ad6578656375746f722f6c656674c4029101a9696e666c696768742fc4139194a573706c6974c4010291a57269676874c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (17, '1a9e592228b048d29faeb0d9ecdd2e8d-4', 16, 2, 1, 2, 4, 3, 1, 1795550373889093, NULL, 1, x'2e6462f608cb1a0e408890de963100593e30b13261e33d6c9d4830fcc66b9a75', NULL, 0, x'9183a6636861696e2fc4049203cccda973746174652f73756dc40103a9696e666c696768742fc4249294a46c656674c4010291a573706c6974c094a57269676874c4010291a573706c6974c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (18, '1a9e592228b048d29faeb0d9ecdd2e8d-5', 17, 2, 1, 2, 5, 4, 1, 1795550373904398, NULL, 1, x'e7bcfb9c6398d3ba43284a104a1714b930c08ceb2980b033e7e709d1406b3c0f', NULL, 0, x'9184a6636861696e2fc4059204cd0119a96f7574707574732f34c43a9293a46c656674c40fae6c65667420323a205b312c20325da66f757470757493a57269676874c40baa726967687420323a2033a66f7574707574ad6578656375746f722f6c656674c403920102a9696e666c696768742fc4139194a573706c6974c4010391a57269676874c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (19, '1a9e592228b048d29faeb0d9ecdd2e8d-6', 18, 2, 1, 2, 6, 5, 1, 1795550373912331, NULL, 1, x'cc29a78d2d76282477a610b84623d44ac5dc7505072d9a5fb22cfdc2a3ce2428', NULL, 0, x'9183a6636861696e2fc4059205cd01a1a973746174652f73756dc40106a9696e666c696768742fc4249294a46c656674c4010391a573706c6974c094a57269676874c4010391a573706c6974c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (20, '1a9e592228b048d29faeb0d9ecdd2e8d-7', 19, 2, 1, 2, 7, 6, 1, 1795550373932439, NULL, 1, x'941c68f7ef6459ce9d76cb6abc5da94a759cd5637d41c9f424369a32a0d60ae1', NULL, 0, x'9184a6636861696e2fc4059206cd01eea96f7574707574732f36c43d9293a46c656674c412b16c65667420333a205b312c20322c20335da66f757470757493a57269676874c40baa726967687420333a2036a66f7574707574ad6578656375746f722f6c656674c40493010203a9696e666c696768742fc4139194a573706c6974c4010491a57269676874c0');
INSERT INTO checkpoint (position, id, parent, workflow, definition, run, sequence, superstep, kind, created_at, derived_from, format_version, digest, seal, is_full, payload) VALUES (21, '1a9e592228b048d29faeb0d9ecdd2e8d-8', 20, 2, 1, 2, 8, 7, 1, 1795550373940327, NULL, 1, x'7e346f3ac36ce29eb849c21f863fcc5f4d9eddd44b6d1c5db044421605b209a0', NULL, 0, x'9183a6636861696e2fc4059207cd027aa973746174652f73756dc4010aa9696e666c696768742fc4249294a46c656674c4010491a573706c6974c094a57269676874c4010491a573706c6974c0');
INSERT INTO lease (epoch, workflow_id, owner, host, process, ttl, acquired, expires) VALUES (2, 'under-way', '1a9e592228b048d29faeb0d9ecdd2e8d', 'elsewhere (process 1)', '', 30.0, 1700000000.0, 1700000030.0);
INSERT INTO journal (workflow, follows, place, payload) VALUES (2, 21, 0, x'9690909193a46c656674c415b46c65667420343a205b312c20322c20332c20345da66f75747075749090c4059401020304');
