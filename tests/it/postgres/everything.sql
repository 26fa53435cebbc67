-- Everything that pg_dump knows, in one database: loaded by a superuser through psql into an empty UTF-8 database of a server from 13 to 18.
--
-- A bare `pg_dump -Fc | pg_restore` into an empty database must give the same `pg_dump` text again; what it changes by nature stands at the end,
-- and is loaded only with `-v by_nature=1`. Left out: subscriptions (a database that has one can't be dropped), tablespaces, security labels.

\set ON_ERROR_STOP 1
\encoding UTF8
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT :SERVER_VERSION_NUM >= 140000 AS has_14, :SERVER_VERSION_NUM >= 150000 AS has_15, :SERVER_VERSION_NUM >= 160000 AS has_16,
       :SERVER_VERSION_NUM >= 170000 AS has_17, :SERVER_VERSION_NUM >= 180000 AS has_18 \gset

-- ---------------------------------------------------------------------------------------------------------------------------- roles
-- They are the cluster's, and another test may be making them at this very moment.
DO $do$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['dbb_owner', 'dbb_reader', 'dbb_writer', 'dbb_it''s "quoted" Röle'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$do$;

-- -------------------------------------------------------------------------------------------------------------------------- schemas
CREATE SCHEMA everything;
CREATE SCHEMA owned AUTHORIZATION dbb_owner;
CREATE SCHEMA "Ünïcödé ☃ schema";
CREATE SCHEMA "q""uote's %s\n";
COMMENT ON SCHEMA everything IS 'It''s "everything" \ 100 % — ✓';
COMMENT ON SCHEMA public IS 'changed';
GRANT USAGE ON SCHEMA everything TO dbb_reader, dbb_owner;
GRANT USAGE, CREATE ON SCHEMA everything TO dbb_writer WITH GRANT OPTION;
-- A pg_dump since 15 does not see this in a server before 15.
\if :has_15
REVOKE ALL ON SCHEMA public FROM PUBLIC;
\endif
GRANT USAGE ON SCHEMA public TO dbb_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA everything GRANT SELECT ON TABLES TO dbb_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE dbb_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE dbb_owner IN SCHEMA owned GRANT SELECT, INSERT ON TABLES TO dbb_writer WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE dbb_owner GRANT USAGE ON SEQUENCES TO dbb_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE dbb_owner REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE dbb_owner GRANT CREATE ON SCHEMAS TO dbb_writer;

SET search_path = everything;

-- ----------------------------------------------------------------------------------------------------------------------- extensions
-- Those of the server's contrib that are there.
CREATE SCHEMA extensions;
SELECT format('CREATE EXTENSION %I SCHEMA extensions', name) FROM pg_available_extensions
WHERE name IN ('btree_gin', 'btree_gist', 'citext', 'cube', 'earthdistance', 'file_fdw', 'fuzzystrmatch', 'hstore', 'intarray', 'isn', 'ltree',
               'pg_trgm', 'pgcrypto', 'postgres_fdw', 'seg', 'tablefunc', 'unaccent', 'uuid-ossp')
ORDER BY name = 'earthdistance', name \gexec
SELECT count(*) FILTER (WHERE extname = 'citext') AS has_citext, count(*) FILTER (WHERE extname = 'hstore') AS has_hstore,
       count(*) FILTER (WHERE extname = 'pg_trgm') AS has_trgm, count(*) FILTER (WHERE extname = 'btree_gist') AS has_btree_gist,
       count(*) FILTER (WHERE extname = 'postgres_fdw') AS has_postgres_fdw, count(*) FILTER (WHERE extname = 'file_fdw') AS has_file_fdw,
       count(*) FILTER (WHERE extname = 'unaccent') AS has_unaccent
FROM pg_extension \gset
\if :has_citext
COMMENT ON EXTENSION citext IS 'a comment of our own';
CREATE TABLE with_citext(email extensions.citext PRIMARY KEY);
INSERT INTO with_citext VALUES ('Ann@Example.org'), ('ÖMER@example.org');
\endif
\if :has_hstore
CREATE TABLE with_hstore(pairs extensions.hstore);
INSERT INTO with_hstore VALUES ('"a b"=>"c\"d", e=>NULL'), ('');
CREATE INDEX with_hstore_gin ON with_hstore USING gin (pairs);
\endif
\if :has_trgm
CREATE TABLE with_trgm(words text);
INSERT INTO with_trgm VALUES ('some words'), ('other words');
CREATE INDEX with_trgm_gin ON with_trgm USING gin (words extensions.gin_trgm_ops);
CREATE INDEX with_trgm_gist ON with_trgm USING gist (words extensions.gist_trgm_ops(siglen = 32));
\endif
\if :has_unaccent
CREATE TEXT SEARCH CONFIGURATION unaccented (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION unaccented ALTER MAPPING FOR hword, hword_part, word WITH extensions.unaccent, simple;
\endif
-- An extension's own privileges changed, and those of the catalog.
\if :has_postgres_fdw
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO dbb_writer;
\endif
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_waldir() TO dbb_reader;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep_for(interval) FROM PUBLIC;
GRANT SELECT (rolname, rolsuper) ON pg_catalog.pg_authid TO dbb_reader;

-- ----------------------------------------------------------------------------------------------------------------------- collations
CREATE COLLATION plain FROM "C";
CREATE COLLATION posix (PROVIDER = libc, LOCALE = 'POSIX');
ALTER COLLATION posix OWNER TO dbb_owner;
COMMENT ON COLLATION plain IS 'bytes';
SELECT count(*) > 0 AS has_icu FROM pg_collation WHERE collname = 'und-x-icu' \gset
\if :has_icu
CREATE COLLATION phonebook (PROVIDER = icu, LOCALE = 'de-u-co-phonebk');
CREATE COLLATION caseless (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
CREATE TABLE with_icu(name text COLLATE phonebook, caseless text COLLATE caseless UNIQUE);
INSERT INTO with_icu VALUES ('Ärger', 'a'), ('Arger', 'B');
CREATE INDEX with_icu_name ON with_icu (name COLLATE "und-x-icu");
\endif

-- ---------------------------------------------------------------------------------------------------------------------------- types
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'häppy', '');
ALTER TYPE mood ADD VALUE 'meh' BEFORE 'häppy';
ALTER TYPE mood OWNER TO dbb_owner;
COMMENT ON TYPE mood IS 'an enum';
GRANT USAGE ON TYPE mood TO dbb_reader;
CREATE TYPE no_moods AS ENUM ();
CREATE TYPE pair AS (a integer, "B b" text COLLATE "C");
COMMENT ON COLUMN pair."B b" IS 'a column of a type';
CREATE TYPE nested AS (one pair, many pair[], mood mood);
CREATE TYPE nothing_in_it AS ();
CREATE FUNCTION time_subtype_diff(x time, y time) RETURNS float8 LANGUAGE sql STRICT IMMUTABLE AS 'SELECT EXTRACT(EPOCH FROM (x - y))';
CREATE TYPE timerange AS RANGE (SUBTYPE = time, SUBTYPE_DIFF = time_subtype_diff);
CREATE TYPE textrange AS RANGE (SUBTYPE = text, COLLATION = "C");
\if :has_14
CREATE TYPE hours AS RANGE (SUBTYPE = time, MULTIRANGE_TYPE_NAME = "many hours");
\endif
CREATE DOMAIN email AS text CONSTRAINT has_at CHECK (VALUE ~ '@') CHECK (length(VALUE) < 100);
COMMENT ON DOMAIN email IS 'a domain';
COMMENT ON CONSTRAINT has_at ON DOMAIN email IS 'its constraint';
CREATE DOMAIN positive AS integer DEFAULT 1 NOT NULL CHECK (VALUE > 0);
CREATE DOMAIN positives AS positive[];
CREATE DOMAIN good_pair AS pair CHECK ((VALUE).a > 0);
CREATE DOMAIN late_check AS text COLLATE "C";
REVOKE ALL ON TYPE positive FROM PUBLIC;
GRANT USAGE ON DOMAIN positive TO dbb_writer;
-- A base type, from its shell.
CREATE TYPE int42;
CREATE FUNCTION int42_in(cstring) RETURNS int42 LANGUAGE internal STRICT IMMUTABLE AS 'int4in';
CREATE FUNCTION int42_out(int42) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'int4out';
CREATE TYPE int42 (INPUT = int42_in, OUTPUT = int42_out, INTERNALLENGTH = 4, ALIGNMENT = int4, DEFAULT = '42', PASSEDBYVALUE, CATEGORY = 'U');
CREATE TYPE only_a_shell;

-- ------------------------------------------------------------------------------------------------------------------------ functions
CREATE FUNCTION add(integer, integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'SELECT $1 + $2';
CREATE FUNCTION add(VARIADIC many numeric[]) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT sum(x) FROM unnest(many) x';
CREATE FUNCTION quoting("In ""put" text DEFAULT 'it''s \ a "default"', OUT "Out" text, INOUT "both" integer DEFAULT NULL)
    LANGUAGE plpgsql STABLE LEAKPROOF SECURITY DEFINER SET search_path = everything, pg_temp SET "app.setting" = 'it''s' AS $func$
DECLARE
    -- Lines that a reader of the dump could take for something else.
    text constant text := $other$
COPY everything.fake (a) FROM stdin;
1
2
\.
\restrict fake
-- Name: fake; Type: TABLE; Schema: everything; Owner: postgres
\connect nowhere
$other$;
BEGIN
    "Out" := text || '$$ $_$ $func $ func$ \' || "In ""put";
END
$func$;
CREATE FUNCTION rows_of() RETURNS TABLE (a integer, b text) LANGUAGE sql ROWS 7 AS $$ VALUES (1, 'x'), (2, NULL) $$;
CREATE FUNCTION polymorphic(anyelement, anyarray) RETURNS anyelement LANGUAGE sql CALLED ON NULL INPUT AS 'SELECT $1';
CREATE PROCEDURE proceed(INOUT counter integer, step integer DEFAULT 1) LANGUAGE plpgsql AS $$ BEGIN counter := counter + step; END $$;
COMMENT ON FUNCTION add(integer, integer) IS E'of several\nlines;\nCOPY everything.fake (a) FROM stdin;\n1\n\\.\n';
COMMENT ON PROCEDURE proceed(integer, integer) IS 'a procedure';
ALTER FUNCTION add(integer, integer) OWNER TO dbb_owner;
REVOKE ALL ON FUNCTION quoting(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION quoting(text, integer) TO dbb_reader WITH GRANT OPTION;
GRANT EXECUTE ON PROCEDURE proceed(integer, integer) TO "dbb_it's ""quoted"" Röle";
\if :has_14
CREATE FUNCTION standard_body(a integer, b integer DEFAULT 2) RETURNS integer RETURN a + b * 2;
CREATE FUNCTION standard_atomic(a integer) RETURNS SETOF integer LANGUAGE sql BEGIN ATOMIC SELECT a; SELECT a + 1; END;
CREATE PROCEDURE out_of(IN b integer, OUT a integer) LANGUAGE sql BEGIN ATOMIC SELECT b; END;
\endif
ALTER DOMAIN late_check ADD CONSTRAINT short CHECK (everything.add(length(VALUE)) < 50) NOT VALID;

CREATE AGGREGATE mean (numeric) (SFUNC = numeric_avg_accum, STYPE = internal, FINALFUNC = numeric_avg, COMBINEFUNC = numeric_avg_combine,
    SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize, PARALLEL = SAFE);
CREATE AGGREGATE moving (integer) (SFUNC = int4_avg_accum, STYPE = bigint[], FINALFUNC = int8_avg, INITCOND = '{0,0}', MSFUNC = int4_avg_accum,
    MINVFUNC = int4_avg_accum_inv, MSTYPE = bigint[], MFINALFUNC = int8_avg, MINITCOND = '{0,0}');
CREATE AGGREGATE percentile (float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal,
    FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA = true);
COMMENT ON AGGREGATE mean (numeric) IS 'an aggregate';
GRANT EXECUTE ON FUNCTION mean(numeric) TO dbb_reader;

CREATE FUNCTION pair_less(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.a < $2.a';
CREATE FUNCTION pair_more(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.a > $2.a';
CREATE FUNCTION pair_not_less(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1.a >= $2.a';
CREATE OPERATOR <<< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_less, COMMUTATOR = >>>, NEGATOR = >>>=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR >>> (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_more, COMMUTATOR = <<<);
CREATE OPERATOR >>>= (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_not_less, NEGATOR = <<<);
CREATE FUNCTION opposite(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS 'SELECT -$1';
CREATE OPERATOR !-! (RIGHTARG = bigint, FUNCTION = opposite);
COMMENT ON OPERATOR <<< (pair, pair) IS 'less';
COMMENT ON OPERATOR !-! (NONE, bigint) IS 'a prefix operator';
ALTER OPERATOR >>>= (pair, pair) OWNER TO dbb_owner;
CREATE OPERATOR FAMILY reversed USING btree;
CREATE FUNCTION reversed_compare(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS 'SELECT pg_catalog.btint4cmp($2, $1)';
CREATE OPERATOR CLASS reversed_integers FOR TYPE integer USING btree FAMILY reversed AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 reversed_compare(integer, integer);
ALTER OPERATOR FAMILY reversed USING btree ADD OPERATOR 3 = (bigint, bigint), FUNCTION 1 (bigint, bigint) btint8cmp(bigint, bigint);
COMMENT ON OPERATOR FAMILY reversed USING btree IS 'a family';
COMMENT ON OPERATOR CLASS reversed_integers USING btree IS 'a class';

CREATE FUNCTION pair_to_text(pair) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT ($1).a || ''/'' || ($1)."B b"';
CREATE CAST (pair AS text) WITH FUNCTION pair_to_text(pair) AS ASSIGNMENT;
CREATE CAST (mood AS timerange) WITH INOUT;
CREATE CAST (int42 AS integer) WITHOUT FUNCTION AS IMPLICIT;
COMMENT ON CAST (pair AS text) IS 'a cast';
CREATE TRANSFORM FOR integer LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
COMMENT ON TRANSFORM FOR integer LANGUAGE sql IS 'a transform';
CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
COMMENT ON CONVERSION latin IS 'a conversion';
CREATE FUNCTION language_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE LANGUAGE speech HANDLER language_handler;
COMMENT ON LANGUAGE speech IS 'a language';
CREATE TRUSTED LANGUAGE polite HANDLER language_handler;
GRANT USAGE ON LANGUAGE polite TO dbb_writer;
CREATE ACCESS METHOD heap_again TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD gist_again TYPE INDEX HANDLER gisthandler;
COMMENT ON ACCESS METHOD heap_again IS 'an access method';

-- ---------------------------------------------------------------------------------------------------------------------- text search
CREATE TEXT SEARCH PARSER parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY dictionary (TEMPLATE = template, STOPWORDS = 'english', ACCEPT = 'false');
CREATE TEXT SEARCH CONFIGURATION configuration (PARSER = parser);
ALTER TEXT SEARCH CONFIGURATION configuration ADD MAPPING FOR asciiword, word, numword WITH dictionary, english_stem;
COMMENT ON TEXT SEARCH PARSER parser IS 'a parser';
COMMENT ON TEXT SEARCH TEMPLATE template IS 'a template';
COMMENT ON TEXT SEARCH DICTIONARY dictionary IS 'a dictionary';
COMMENT ON TEXT SEARCH CONFIGURATION configuration IS 'a configuration';
ALTER TEXT SEARCH CONFIGURATION configuration OWNER TO dbb_owner;

-- ------------------------------------------------------------------------------------------------------------------------ sequences
CREATE SEQUENCE odd AS smallint INCREMENT BY -7 MINVALUE -30000 MAXVALUE 12345 START WITH 12000 CACHE 5 CYCLE;
SELECT setval('odd', -77, true) \g /dev/null
CREATE SEQUENCE untouched START WITH 9223372036854775806;
CREATE SEQUENCE given_back START WITH 5;
SELECT setval('given_back', 17, false) \g /dev/null
ALTER SEQUENCE odd OWNER TO dbb_owner;
COMMENT ON SEQUENCE odd IS 'a sequence';
GRANT USAGE, UPDATE ON SEQUENCE odd TO dbb_writer;
\if :has_15
CREATE UNLOGGED SEQUENCE unlogged_sequence;
\endif

-- --------------------------------------------------------------------------------------------------------------------------- tables
CREATE TABLE customers (
    id integer GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME "customers' ids" START 100 INCREMENT 10 MINVALUE 5 CACHE 3 CYCLE) PRIMARY KEY,
    number bigint GENERATED BY DEFAULT AS IDENTITY UNIQUE,
    counter serial,
    name varchar(40) COLLATE plain DEFAULT 'it''s a \ default' NOT NULL,
    email email,
    mood mood DEFAULT 'meh',
    born date DEFAULT CURRENT_DATE,
    pair pair DEFAULT ROW(1, 'x'),
    pairs good_pair[],
    amount numeric(12, 2) CHECK (amount >= 0),
    with_tax numeric GENERATED ALWAYS AS (round(amount * 1.19, 2)) STORED,
    CONSTRAINT "name is not % or ""empty""" CHECK (name <> '' AND name <> '%') NO INHERIT
);
INSERT INTO customers (name, email, mood, born, pair, pairs, amount)
SELECT 'customer ' || i, 'c' || i || '@example.org', (ARRAY['sad', 'it''s ok', 'häppy', ''])[1 + i % 4]::mood, '2000-01-01'::date + i,
       ROW(i, repeat('"\,() ', i % 3))::pair, ARRAY[ROW(i, NULL)]::good_pair[], i * 1.07
FROM generate_series(1, 200) i;
ALTER TABLE customers OWNER TO dbb_owner;
COMMENT ON TABLE customers IS 'a table';
COMMENT ON COLUMN customers.name IS E'a column\twith a tab';
COMMENT ON CONSTRAINT "name is not % or ""empty""" ON customers IS 'a constraint';
COMMENT ON INDEX customers_pkey IS 'an index';
GRANT SELECT ON customers TO dbb_reader WITH GRANT OPTION;
GRANT SELECT (id, name), UPDATE (name), REFERENCES (id) ON customers TO dbb_writer;
GRANT INSERT (name) ON customers TO PUBLIC;
GRANT ALL ON customers TO "dbb_it's ""quoted"" Röle";
REVOKE DELETE ON customers FROM dbb_owner;
-- Granted on, by one who is neither owner nor superuser.
SET ROLE dbb_reader;
GRANT SELECT ON customers TO dbb_writer;
RESET ROLE;

CREATE TABLE zero_columns ();
INSERT INTO zero_columns DEFAULT VALUES;
INSERT INTO zero_columns DEFAULT VALUES;
INSERT INTO zero_columns DEFAULT VALUES;
CREATE TABLE only_generated (answer integer GENERATED ALWAYS AS (2 * 21) STORED);
INSERT INTO only_generated DEFAULT VALUES;
INSERT INTO only_generated DEFAULT VALUES;
CREATE TABLE no_rows (id integer PRIMARY KEY, gone text, kept text DEFAULT 'x');
ALTER TABLE no_rows DROP COLUMN gone;
CREATE TABLE all_dropped (a integer);
INSERT INTO all_dropped VALUES (1), (2);
ALTER TABLE all_dropped DROP COLUMN a;
-- Rows that are older than a column of theirs, between dropped ones.
CREATE TABLE grown (a integer, b integer, c integer);
INSERT INTO grown SELECT i, i, i FROM generate_series(1, 10) i;
ALTER TABLE grown DROP COLUMN b, ADD COLUMN d text DEFAULT 'since later' NOT NULL, ADD COLUMN e timestamptz DEFAULT '2020-02-29 12:00+00';
ALTER TABLE grown RENAME COLUMN c TO "C";
CREATE UNLOGGED TABLE unlogged_table (id integer PRIMARY KEY, note text);
INSERT INTO unlogged_table SELECT i, 'not logged ' || i FROM generate_series(1, 10) i;
CREATE TABLE of_type OF pair (PRIMARY KEY (a), "B b" WITH OPTIONS DEFAULT 'typed');
INSERT INTO of_type VALUES (1), (2);
CREATE TABLE on_heap_again (id integer) USING heap_again;
INSERT INTO on_heap_again VALUES (1);
CREATE TABLE stored (
    id integer PRIMARY KEY, external text, plain text, main text, extended jsonb, small integer
) WITH (fillfactor = 70, autovacuum_enabled = off, autovacuum_vacuum_scale_factor = 0.4, toast.autovacuum_enabled = off, toast_tuple_target = 256);
ALTER TABLE stored ALTER external SET STORAGE EXTERNAL, ALTER plain SET STORAGE PLAIN, ALTER main SET STORAGE MAIN,
    ALTER small SET STATISTICS 700, ALTER external SET (n_distinct = -0.5, n_distinct_inherited = 7);
\if :has_14
ALTER TABLE stored ALTER main SET COMPRESSION pglz;
\endif
INSERT INTO stored SELECT i, repeat('external ', 500), 'plain', repeat('main ', 700), '{"a": [1, 2, {"b": null}]}', i FROM generate_series(1, 20) i;
CREATE TABLE base_types (id int42, "null" int42);
INSERT INTO base_types (id) VALUES ('7'), (DEFAULT);

-- Values that are easily lost.
CREATE TABLE numbers (n numeric, r real, d double precision, i bigint, s smallint, m money);
INSERT INTO numbers VALUES ('NaN', 'NaN', 'NaN', 9223372036854775807, -32768, NULL), (NULL, 'Infinity', '-Infinity', -9223372036854775808, 32767, NULL),
    (repeat('9', 1000)::numeric, 1e-45, 5e-324, 0, 0, 0), (-0.000000000000000000000000000000000000000000000001, 3.4028235e38, 1.7976931348623157e308, 1, 1, 1),
    (1.10, 0.1, 0.1, 2, 2, 2), (0.00, '-0', '-0', 3, 3, 3);
\if :has_14
INSERT INTO numbers (n) VALUES ('Infinity'), ('-Infinity');
\endif
CREATE TABLE times (d date, ts timestamp, tz timestamptz, t time, ttz timetz, i interval);
INSERT INTO times VALUES ('4713-01-01 BC', '4713-01-01 00:00:00 BC', '4713-01-02 00:00:00+00 BC', '00:00', '00:00+15:59', '178000000 years'),
    ('5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '24:00', '24:00-15:59', '-1 year +2 mons -3 days +04:05:06.789'),
    ('infinity', 'infinity', 'infinity', '12:34:56.789012', '12:34:56.789012-03:30', '0'), ('-infinity', '-infinity', '-infinity', NULL, NULL, NULL),
    ('0001-12-31 BC', '1900-02-28 BC', '1883-11-18 17:00:00+00', '23:59:59.999999', '23:59:60', '1.5 s');
CREATE TABLE texts (id integer PRIMARY KEY, t text, c char(10), v varchar(20), n name, "char" "char", x xml, uuid uuid);
INSERT INTO texts (id, t, c, v) VALUES (1, '', '', ''), (2, NULL, NULL, NULL), (3, E'\\N', E'\\N', E'\\.'), (4, E'\\.', 'trailing  ', 'trailing  '),
    (5, E'a\tb\nc\rd\be\ff\vg\\h\x01\x7f', E'\t', E'\\t'), (6, E'line\n\\.\nline\n', E'\n', E'\r\n'), (7, '\', '\\', '\\\'), (8, '☃ 𝄞 ä é', '☃', 'é'),
    (9, E'COPY everything.texts (id) FROM stdin;\n1\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n', 'a', 'b'), (10, '''"$$$_$;--/*', ';', '%s%n%%'),
    (11, E'\u0001\u2028\u2029\uFEFF', NULL, NULL), (12, 'NULL', 'null', 'NULL'), (13, 'COPY everything.fake FROM stdin;', NULL, NULL);
UPDATE texts SET n = 'a name', "char" = 'c', uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' WHERE id = 1;
-- Some servers are built without XML.
DO $do$ BEGIN
    UPDATE everything.texts SET x = '<a b="c">&amp;ä</a>' WHERE id = 1;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $do$;
CREATE TABLE documents (j json, b jsonb, p jsonpath);
INSERT INTO documents VALUES ('{"a" : "\u00e4\n\\\"\t\u0001", "a": 1,   "b":[ ]}', '{"a": "ä\n\\\"\t", "n": 1.10e2, "": null, "\\": [[], {}]}', '$.a[*] ? (@.b == "\"x\\")'),
    ('null', 'null', NULL), ('"\\."', '"\\.\n"', 'strict $'), (NULL, NULL, NULL);
CREATE TABLE bytes (id integer PRIMARY KEY, b bytea, bits bit(5), varbits bit varying(9));
INSERT INTO bytes VALUES (1, '', B'10101', B''), (2, '\x00ff0a5c2e0d09', B'00000', B'111'), (3, NULL, NULL, NULL),
    (4, (SELECT string_agg(decode(lpad(to_hex(i), 2, '0'), 'hex'), '' ORDER BY i) FROM generate_series(0, 255) i), B'11111', B'000000001');
CREATE TABLE others (ip inet, net cidr, mac macaddr, mac8 macaddr8, point point, line line, lseg lseg, box box, path path, polygon polygon, circle circle,
    vector tsvector, query tsquery, lsn pg_lsn, snapshot pg_snapshot, oid oid, class regclass, "type" regtype, proc regprocedure, role regrole);
INSERT INTO others VALUES ('::ffff:1.2.3.4/64', '10.1.0.0/16', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '(1,-0.5)', '{1,2,3}', '[(0,0),(1,1)]',
    '(1,1),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(1,2),3>', 'a:1A,2B ''it''''s'':3 "\\"', '(a & !b:*) <2> ''c d''', '16/B374D848', '10:20:10,14',
    4294967295, 'customers', 'mood', 'add(integer,integer)', 'dbb_owner');
CREATE TABLE arrays (a integer[], b text[][], c mood[], d nested, e positives, f pair[], g date[]);
INSERT INTO arrays VALUES ('{}', '{}', '{}', NULL, NULL, '{}', NULL), ('[0:2]={1,NULL,3}', '{{"a,b","c\"d"},{NULL,"NULL"}}', '{"it''s ok",""}',
    ROW(ROW(1, E'a"b\\c\n'), ARRAY[ROW(2, ''), NULL]::pair[], 'sad'), '{1,2}', ARRAY[ROW(NULL, NULL), ROW(1, 'NULL')]::pair[], '{infinity,"0044-03-15 BC"}'),
    ('[-1:0]={7,8}', '[2:3][-1:0]={{" ","\\."},{"{}",""}}', NULL, NULL, NULL, NULL, NULL);
CREATE TABLE ranges (i int4range, n numrange, t tstzrange, own timerange, texts textrange);
INSERT INTO ranges VALUES ('[1,10)', '(1.5,]', '[2020-01-01 00:00+00,infinity]', '[08:00,12:00]', '["a,b","c\"d")'), ('empty', '(,)', 'empty', NULL, '["",)');
\if :has_14
CREATE TABLE multiranges (i int4multirange, own timemultirange, hours "many hours");
INSERT INTO multiranges VALUES ('{[1,3),[5,8)}', '{}', '{[08:00,12:00),[13:00,17:00)}'), ('{}', NULL, NULL);
\endif
-- One value that is larger than every buffer.
CREATE TABLE huge (id integer PRIMARY KEY, note text);
INSERT INTO huge VALUES (1, 'before'), (2, repeat(E'0123456789abcdefghij\t\\klmnopqrstuvwxyz\n', 1500000)), (3, 'after');

-- Names.
CREATE TABLE "Ünïcödé ☃ schema"."täble ""quoted"" it's 100 % \ $1" ("ïd ""x""" integer PRIMARY KEY, "a	tab, comma;--" text, "select" text, " " text);
INSERT INTO "Ünïcödé ☃ schema"."täble ""quoted"" it's 100 % \ $1" VALUES (1, 'a', 'b', 'c'), (2, NULL, '', ' ');
COMMENT ON COLUMN "Ünïcödé ☃ schema"."täble ""quoted"" it's 100 % \ $1"."ïd ""x""" IS 'ä';
CREATE TABLE "q""uote's %s\n"."line
break" ("a
b" integer, "c" text);
INSERT INTO "q""uote's %s\n"."line
break" VALUES (1, 'x'), (2, E'y\nz');
CREATE TABLE "COPY everything.fake (a) FROM stdin;
1
\.
" ("FROM stdin;
" integer);
INSERT INTO "COPY everything.fake (a) FROM stdin;
1
\.
" VALUES (1), (2), (3);
CREATE TABLE "63 bytes, the most that a name may have: ääääääääxxxxxx" (id integer PRIMARY KEY);
INSERT INTO "63 bytes, the most that a name may have: ääääääääxxxxxx" VALUES (1);
CREATE TABLE "a.b" ("c.d" integer);
INSERT INTO "a.b" VALUES (1);
CREATE TABLE "UPPER" (id integer);
CREATE TABLE "upper" (id integer);
INSERT INTO "UPPER" VALUES (1);
INSERT INTO "upper" VALUES (1), (2);
CREATE TABLE "table" ("user" integer, "order" integer, "primary" integer);
INSERT INTO "table" VALUES (1, 2, 3);

-- ------------------------------------------------------------------------------------------------------------------------ partitions
CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, kind text DEFAULT 'x', payload jsonb, PRIMARY KEY (id, at, kind)) PARTITION BY RANGE (at);
CREATE TABLE events_2020 PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2021-01-01 00:00+00');
CREATE TABLE events_2021 PARTITION OF events (kind DEFAULT 'y') FOR VALUES FROM ('2021-01-01 00:00+00') TO ('2022-01-01 00:00+00') PARTITION BY LIST (kind);
CREATE TABLE events_2021_a PARTITION OF events_2021 FOR VALUES IN ('a', 'x');
CREATE TABLE events_2021_others PARTITION OF events_2021 DEFAULT WITH (fillfactor = 50);
-- One with its columns in another order, attached later.
CREATE TABLE "Ünïcödé ☃ schema".events_2022 (payload jsonb, dropped integer, kind text NOT NULL, id bigint NOT NULL, at timestamptz NOT NULL);
ALTER TABLE "Ünïcödé ☃ schema".events_2022 DROP COLUMN dropped;
ALTER TABLE events ATTACH PARTITION "Ünïcödé ☃ schema".events_2022 FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2023-01-01 00:00+00');
CREATE TABLE events_default PARTITION OF events DEFAULT;
INSERT INTO events SELECT i, '2020-06-01 00:00+00'::timestamptz + i * interval '3 days', (ARRAY['a', 'b', 'x'])[1 + i % 3], jsonb_build_object('i', i)
FROM generate_series(1, 400) i;
CREATE INDEX events_kind ON events (kind) INCLUDE (id);
CREATE INDEX events_payload ON ONLY events (payload);
CREATE INDEX events_2020_payload ON events_2020 (payload);
ALTER INDEX events_payload ATTACH PARTITION events_2020_payload;
ALTER TABLE events_2020 ADD CONSTRAINT only_here CHECK (id > 0);
CREATE TABLE by_hash (id integer, name text) PARTITION BY HASH (id, lower(name));
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE UNLOGGED TABLE by_hash_2 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO by_hash SELECT i, 'name ' || i FROM generate_series(1, 100) i;
-- Where a row goes depends on an enum's OIDs, so pg_dump has the rows loaded through the root.
CREATE TABLE by_mood (mood mood, n integer) PARTITION BY HASH (mood);
CREATE TABLE by_mood_all PARTITION OF by_mood FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO by_mood SELECT (ARRAY['sad', 'it''s ok', 'häppy', ''])[1 + i % 4]::mood, i FROM generate_series(1, 40) i;
CREATE TABLE by_two (a integer, b text COLLATE "C") PARTITION BY RANGE (a, b);
CREATE TABLE by_two_1 PARTITION OF by_two FOR VALUES FROM (1, MINVALUE) TO (10, 'it''s');
CREATE TABLE by_two_2 PARTITION OF by_two FOR VALUES FROM (10, 'it''s') TO (MAXVALUE, MAXVALUE);
INSERT INTO by_two VALUES (1, ''), (10, 'it''s'), (10, 'a'), (100, 'z');
CREATE TABLE no_partitions (id integer) PARTITION BY LIST (id);
COMMENT ON TABLE events IS 'a partitioned table';
COMMENT ON TABLE events_2020 IS 'a partition';
GRANT SELECT ON events_2020 TO dbb_writer;
\if :has_17
CREATE TABLE with_identity (id integer GENERATED ALWAYS AS IDENTITY, kind text) PARTITION BY LIST (kind);
CREATE TABLE with_identity_a PARTITION OF with_identity FOR VALUES IN ('a');
INSERT INTO with_identity (kind) VALUES ('a'), ('a');
\endif

-- ----------------------------------------------------------------------------------------------------------------------- inheritance
CREATE TABLE animals (id integer NOT NULL, name text DEFAULT 'animal', CONSTRAINT named CHECK (name <> ''), CONSTRAINT only_animals CHECK (id >= 0) NO INHERIT);
CREATE TABLE dogs (barks boolean DEFAULT true, CHECK (id < 1000)) INHERITS (animals);
CREATE TABLE cats (lives integer DEFAULT 9) INHERITS (animals);
ALTER TABLE cats ALTER name SET DEFAULT 'cat', ALTER id SET DEFAULT 5;
CREATE TABLE catdogs (id integer DEFAULT 6 PRIMARY KEY, name text DEFAULT 'catdog') INHERITS (cats, dogs);
CREATE TABLE adopted (id integer NOT NULL, name text CONSTRAINT named CHECK (name <> ''), since date);
ALTER TABLE adopted INHERIT animals;
INSERT INTO animals VALUES (1, 'some');
INSERT INTO dogs VALUES (2, 'dog', false), (3, NULL, NULL);
INSERT INTO cats VALUES (4, 'cat', 7);
INSERT INTO catdogs VALUES (5, 'both', 1, true);
INSERT INTO adopted VALUES (6, 'adopted', '2020-01-01');

-- ----------------------------------------------------------------------------------------------------------------------- constraints
CREATE TABLE tree (id integer PRIMARY KEY, parent integer REFERENCES tree ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO tree VALUES (3, 1), (2, 3), (1, NULL);
CREATE TABLE hen (id integer PRIMARY KEY, egg integer NOT NULL);
CREATE TABLE egg (id integer PRIMARY KEY, hen integer NOT NULL REFERENCES hen DEFERRABLE);
ALTER TABLE hen ADD CONSTRAINT which_was_first FOREIGN KEY (egg) REFERENCES egg ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO hen VALUES (1, 2), (2, 1);
INSERT INTO egg VALUES (1, 1), (2, 2);
COMMIT;
CREATE TABLE orders (
    customer integer REFERENCES customers ON DELETE SET NULL,
    line integer,
    period daterange,
    room integer,
    CONSTRAINT orders_key PRIMARY KEY (line, room) INCLUDE (customer) DEFERRABLE INITIALLY DEFERRED,
    UNIQUE (customer, line) WITH (fillfactor = 60),
    CONSTRAINT one_at_a_time EXCLUDE USING gist (period WITH &&) WHERE (room = 1) DEFERRABLE,
    EXCLUDE USING btree (line WITH =, room WITH =)
);
INSERT INTO orders VALUES (110, 1, '[2020-01-01,2020-01-05)', 1), (NULL, 2, '[2020-01-05,2020-01-09)', 1), (110, 3, '[2020-01-01,2020-01-09)', 2);
COMMENT ON CONSTRAINT one_at_a_time ON orders IS 'an exclusion constraint';
CREATE TABLE many_keys (a integer, b integer, c integer, UNIQUE (a, b));
CREATE TABLE many_references (a integer, b integer, c integer, FOREIGN KEY (a, b) REFERENCES many_keys (a, b) MATCH FULL ON DELETE SET DEFAULT ON UPDATE RESTRICT);
INSERT INTO many_keys VALUES (1, 1, 1), (1, 2, 2);
INSERT INTO many_references VALUES (1, 1, 1), (NULL, NULL, 200);
-- Rows that a constraint would refuse, which is not yet valid.
ALTER TABLE many_references ADD CONSTRAINT later CHECK (c > 100) NOT VALID;
ALTER TABLE many_references ADD CONSTRAINT later_too FOREIGN KEY (c) REFERENCES tree NOT VALID;
CREATE UNIQUE INDEX many_keys_c ON many_keys (c);
ALTER TABLE many_keys ADD CONSTRAINT by_its_index UNIQUE USING INDEX many_keys_c DEFERRABLE;
CREATE TABLE of_events (id bigint, at timestamptz, kind text, CONSTRAINT to_partitions FOREIGN KEY (id, at, kind) REFERENCES events);
INSERT INTO of_events SELECT id, at, kind FROM events ORDER BY id LIMIT 10;
\if :has_btree_gist
CREATE TABLE rooms (room text, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO rooms VALUES ('a', '[2020-01-01 00:00+00,2020-01-02 00:00+00)'), ('b', '[2020-01-01 00:00+00,2020-01-02 00:00+00)');
\endif
\if :has_15
CREATE TABLE since_15 (a integer REFERENCES tree, b integer, UNIQUE NULLS NOT DISTINCT (a, b), FOREIGN KEY (a, b) REFERENCES many_keys (a, b) ON DELETE SET NULL (b));
INSERT INTO since_15 VALUES (1, 2), (NULL, NULL);
\endif
\if :has_18
CREATE TABLE since_18 (
    a integer CONSTRAINT "a isn't null" NOT NULL,
    v integer GENERATED ALWAYS AS (a * 2) VIRTUAL,
    b integer,
    during int4range,
    CONSTRAINT unenforced CHECK (b > 0) NOT ENFORCED,
    PRIMARY KEY (a)
);
INSERT INTO since_18 VALUES (1, DEFAULT, NULL, '[1,5)'), (2, DEFAULT, -1, '[1,5)');
ALTER TABLE since_18 ADD CONSTRAINT b_later NOT NULL b NOT VALID;
COMMENT ON CONSTRAINT "a isn't null" ON since_18 IS 'a named one';
CREATE TABLE temporal (id int4range, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
CREATE TABLE temporal_child (id int4range, at daterange, FOREIGN KEY (id, PERIOD at) REFERENCES temporal (id, PERIOD at));
INSERT INTO temporal VALUES ('[1,2)', '[2020-01-01,2021-01-01)');
INSERT INTO temporal_child VALUES ('[1,2)', '[2020-02-01,2020-03-01)');
\endif
-- A function of a table's rows in that table's own check, and a default that reads the table.
CREATE TABLE checked (id integer PRIMARY KEY, state text);
CREATE FUNCTION is_fine(checked) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).state IS DISTINCT FROM 'bad' $$;
ALTER TABLE checked ADD CONSTRAINT fine CHECK (is_fine(checked.*));
CREATE FUNCTION next_state() RETURNS text LANGUAGE sql AS $$ SELECT 'state ' || count(*) FROM everything.checked $$;
ALTER TABLE checked ALTER state SET DEFAULT next_state();
INSERT INTO checked (id) VALUES (1);
INSERT INTO checked (id) VALUES (2);

-- --------------------------------------------------------------------------------------------------------------------------- indexes
CREATE TABLE indexed (id integer NOT NULL, name text, tags text[], place point, span int4range, ip inet, created timestamp, doc jsonb, vector tsvector);
INSERT INTO indexed SELECT i, 'name ' || i, ARRAY['t' || i % 7], point(i, i), int4range(i, i + 5), ('10.0.' || i % 256 || '.1')::inet,
    '2020-01-01'::timestamp + i * interval '1 hour', jsonb_build_object('k', i), to_tsvector('simple', 'word' || i) FROM generate_series(1, 300) i;
CREATE UNIQUE INDEX indexed_id ON indexed (id);
CREATE INDEX indexed_partial ON indexed (name) WHERE id > 100 AND name <> 'it''s';
CREATE INDEX indexed_expression ON indexed (lower(name), (id % 10), (name || '!') COLLATE "C");
ALTER INDEX indexed_expression ALTER COLUMN 2 SET STATISTICS 400;
CREATE INDEX indexed_order ON indexed (name COLLATE plain text_pattern_ops DESC NULLS LAST, id ASC NULLS FIRST) INCLUDE (created) WITH (fillfactor = 80, deduplicate_items = off);
CREATE INDEX indexed_own_class ON indexed (id reversed_integers);
CREATE INDEX indexed_hash ON indexed USING hash (name);
CREATE INDEX indexed_brin ON indexed USING brin (created) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX indexed_gin ON indexed USING gin (tags) WITH (fastupdate = off, gin_pending_list_limit = 128);
CREATE INDEX indexed_doc ON indexed USING gin (doc jsonb_path_ops);
CREATE INDEX indexed_gist ON indexed USING gist (place, span) WITH (buffering = off);
CREATE INDEX indexed_vector ON indexed USING gist (vector tsvector_ops(siglen = 100));
CREATE INDEX indexed_spgist ON indexed USING spgist (ip);
CREATE INDEX "indexed it's ""own"" %" ON indexed (id, name);
COMMENT ON INDEX indexed_gin IS 'an index''s comment';
ALTER TABLE indexed CLUSTER ON indexed_id;
ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id;
ALTER TABLE stored REPLICA IDENTITY FULL;
ALTER TABLE texts REPLICA IDENTITY NOTHING;
CREATE STATISTICS of_dependencies (dependencies, ndistinct) ON name, id FROM indexed;
CREATE STATISTICS of_common_values (mcv) ON id, created FROM indexed;
ALTER STATISTICS of_common_values SET STATISTICS 300;
ALTER STATISTICS of_common_values OWNER TO dbb_owner;
COMMENT ON STATISTICS of_dependencies IS 'a statistics object';
\if :has_14
CREATE STATISTICS of_expressions ON lower(name), (id % 10) FROM indexed;
\endif

-- ----------------------------------------------------------------------------------------------------------------------------- views
CREATE VIEW cheap AS SELECT id, name, amount FROM customers WHERE amount < 100 WITH LOCAL CHECK OPTION;
CREATE VIEW barrier WITH (security_barrier = true) AS SELECT id, name FROM cheap WHERE name <> '' WITH CASCADED CHECK OPTION;
\if :has_15
CREATE VIEW invoker WITH (security_invoker = true) AS SELECT id FROM customers;
\endif
CREATE VIEW a_view_of_a_later_one AS SELECT 1 AS x;
CREATE VIEW z_view AS SELECT id AS x FROM tree;
CREATE OR REPLACE VIEW a_view_of_a_later_one AS SELECT x FROM z_view;
CREATE RECURSIVE VIEW numbered (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbered WHERE n < 10;
-- It leans on the primary key, so it is made in two steps.
CREATE VIEW by_key AS SELECT c.id, c.name, count(o.line) AS lines FROM customers c LEFT JOIN orders o ON o.customer = c.id GROUP BY c.id;
CREATE VIEW "Ünïcödé ☃ schema"."it's a ""view""" ("ä", "b c") AS
    WITH x AS (SELECT name, row_number() OVER w AS rank FROM customers WINDOW w AS (PARTITION BY mood ORDER BY amount DESC NULLS LAST))
    SELECT x.name, x.rank FROM x JOIN LATERAL (SELECT 1) one(o) ON true WHERE x.rank <= ALL (SELECT 3 UNION SELECT 4) ORDER BY 2, 1 LIMIT 5;
CREATE VIEW editable AS SELECT id, state FROM checked;
ALTER VIEW editable ALTER state SET DEFAULT 'from the view';
ALTER VIEW editable OWNER TO dbb_owner;
COMMENT ON VIEW cheap IS 'a view';
COMMENT ON COLUMN cheap.name IS 'a view''s column';
GRANT SELECT, UPDATE (name) ON cheap TO dbb_writer;
CREATE MATERIALIZED VIEW sales AS SELECT mood, count(*) AS customers, sum(amount) AS total FROM customers GROUP BY mood;
CREATE UNIQUE INDEX sales_mood ON sales (mood);
CREATE MATERIALIZED VIEW best_sales WITH (fillfactor = 50) AS SELECT max(total) AS best FROM sales;
CREATE MATERIALIZED VIEW not_filled AS SELECT id FROM customers WITH NO DATA;
CREATE INDEX not_filled_id ON not_filled (id);
COMMENT ON MATERIALIZED VIEW sales IS 'a materialized view';
ALTER MATERIALIZED VIEW not_filled OWNER TO dbb_owner;
GRANT SELECT ON sales TO dbb_reader;

-- ------------------------------------------------------------------------------------------------------------------ triggers and rules
CREATE TABLE audited (id integer PRIMARY KEY, name text, changed timestamptz);
CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO everything.audit (what) VALUES (TG_NAME || ' ' || TG_OP || ' ' || coalesce(TG_ARGV[0], ''));
    RETURN coalesce(NEW, OLD);
END
$$;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OF name, changed ON audited FOR EACH ROW EXECUTE FUNCTION audit('it''s', '\x', '');
CREATE TRIGGER after_change AFTER UPDATE ON audited FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION audit();
CREATE TRIGGER after_statement AFTER INSERT ON audited REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION audit();
CREATE TRIGGER on_truncate BEFORE TRUNCATE ON audited FOR EACH STATEMENT EXECUTE FUNCTION audit();
CREATE CONSTRAINT TRIGGER in_the_end AFTER INSERT ON audited FROM tree DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit('deferred');
CREATE TRIGGER "it's ""disabled""" BEFORE DELETE ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER on_replica AFTER DELETE ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER always AFTER DELETE ON audited FOR EACH ROW EXECUTE FUNCTION audit();
ALTER TABLE audited DISABLE TRIGGER "it's ""disabled""", ENABLE REPLICA TRIGGER on_replica, ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER instead_of INSTEAD OF INSERT OR DELETE ON editable FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER on_partitions AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION audit();
ALTER TABLE events_2020 DISABLE TRIGGER on_partitions;
COMMENT ON TRIGGER before_row ON audited IS 'a trigger';
INSERT INTO audited SELECT i, 'name ' || i FROM generate_series(1, 5) i;
UPDATE audited SET name = 'changed' WHERE id = 1;

CREATE TABLE ruled (id integer PRIMARY KEY, name text);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO everything.audit (what) VALUES ('rule ' || NEW.id);
CREATE RULE instead AS ON DELETE TO ruled WHERE OLD.id > 0 DO INSTEAD NOTHING;
CREATE RULE several AS ON UPDATE TO ruled WHERE NEW.name = 'it''s' DO ALSO (INSERT INTO audit (what) VALUES ('one'); DELETE FROM audit WHERE what = 'two');
CREATE RULE notifying AS ON DELETE TO ruled DO ALSO NOTIFY changes;
CREATE RULE disabled AS ON INSERT TO ruled DO INSTEAD NOTHING;
ALTER TABLE ruled DISABLE RULE disabled;
COMMENT ON RULE also ON ruled IS 'a rule';
INSERT INTO ruled VALUES (1, 'one');
CREATE VIEW ruled_view AS SELECT id, name FROM ruled;
CREATE RULE into_view AS ON INSERT TO ruled_view DO INSTEAD INSERT INTO ruled VALUES (NEW.id, NEW.name) RETURNING ruled.*;

-- ---------------------------------------------------------------------------------------------------------------------- row security
CREATE TABLE secret (id integer PRIMARY KEY, owner name DEFAULT CURRENT_USER, note text);
INSERT INTO secret VALUES (1, 'dbb_owner', 'a'), (2, 'dbb_reader', 'b'), (3, 'nobody', 'c');
ALTER TABLE secret OWNER TO dbb_owner;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = CURRENT_USER);
CREATE POLICY "it's ""restrictive""" ON secret AS RESTRICTIVE FOR SELECT TO dbb_reader, dbb_writer USING (id > 0 AND EXISTS (SELECT FROM tree WHERE tree.id = secret.id));
CREATE POLICY adding ON secret FOR INSERT TO PUBLIC WITH CHECK (note IS NOT NULL);
CREATE POLICY changing ON secret FOR UPDATE TO dbb_writer USING (true) WITH CHECK (note <> 'it''s');
CREATE TABLE enabled_only (id integer);
ALTER TABLE enabled_only ENABLE ROW LEVEL SECURITY;
INSERT INTO enabled_only VALUES (1);
COMMENT ON POLICY own ON secret IS 'a policy';
GRANT SELECT ON secret TO dbb_reader;

-- --------------------------------------------------------------------------------------------------------------------- large objects
SELECT lo_from_bytea(990001, '\x00ff5c2e0a'), lo_create(990002), lo_from_bytea(990003, convert_to(repeat('a large object ', 40000), 'UTF8')) \g /dev/null
ALTER LARGE OBJECT 990001 OWNER TO dbb_owner;
COMMENT ON LARGE OBJECT 990001 IS 'it''s a large object';
GRANT SELECT ON LARGE OBJECT 990001 TO dbb_reader;
GRANT SELECT, UPDATE ON LARGE OBJECT 990003 TO dbb_writer WITH GRANT OPTION;

-- ---------------------------------------------------------------------------------------------------------------------- foreign data
CREATE FOREIGN DATA WRAPPER dummy OPTIONS (debug 'it''s "true"');
GRANT USAGE ON FOREIGN DATA WRAPPER dummy TO dbb_owner WITH GRANT OPTION;
COMMENT ON FOREIGN DATA WRAPPER dummy IS 'a wrapper';
CREATE SERVER "dummy's" TYPE 'a type' VERSION '1.0' FOREIGN DATA WRAPPER dummy OPTIONS (host 'nowhere.example', "an option" '\');
ALTER SERVER "dummy's" OWNER TO dbb_owner;
GRANT USAGE ON FOREIGN SERVER "dummy's" TO dbb_reader;
COMMENT ON SERVER "dummy's" IS 'a server';
CREATE USER MAPPING FOR PUBLIC SERVER "dummy's" OPTIONS (user 'somebody');
CREATE USER MAPPING FOR dbb_reader SERVER "dummy's" OPTIONS (user 'me', password 'it''s "secret" \ $1');
CREATE FOREIGN TABLE elsewhere (
    id integer OPTIONS (column_name 'ID''s') NOT NULL, name text COLLATE plain DEFAULT 'x', doubled integer GENERATED ALWAYS AS (id * 2) STORED, CHECK (id > 0)
) SERVER "dummy's" OPTIONS (table_name 'elsewhere', "sch ema" '100 %');
COMMENT ON FOREIGN TABLE elsewhere IS 'a foreign table';
COMMENT ON COLUMN elsewhere.id IS 'its column';
GRANT SELECT (id) ON elsewhere TO dbb_reader;
CREATE FOREIGN TABLE foreign_partition PARTITION OF no_partitions FOR VALUES IN (7) SERVER "dummy's";
CREATE FOREIGN TABLE foreign_child () INHERITS (animals) SERVER "dummy's";
\if :has_postgres_fdw
CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1', dbname 'other', fetch_size '1000');
CREATE USER MAPPING FOR dbb_writer SERVER other OPTIONS (user 'me', password 'secret');
CREATE FOREIGN TABLE "Ünïcödé ☃ schema".remote (id integer, name text) SERVER other OPTIONS (schema_name 'public', table_name 'remote');
\endif
\if :has_file_fdw
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE passwd (line text) SERVER files OPTIONS (filename '/nowhere', format 'text');
\endif

-- --------------------------------------------------------------------------------------------------- publications and event triggers
CREATE PUBLICATION everything_there_is FOR ALL TABLES WITH (publish = 'insert, truncate');
CREATE PUBLICATION several FOR TABLE customers, "Ünïcödé ☃ schema"."täble ""quoted"" it's 100 % \ $1", ONLY dogs WITH (publish = 'insert');
CREATE PUBLICATION "it's ""empty""";
CREATE PUBLICATION through_root FOR TABLE by_two WITH (publish = 'insert', publish_via_partition_root = true);
\if :has_15
CREATE PUBLICATION since_15 FOR TABLE customers (id, name) WHERE (amount > 5), TABLE indexed WITH (publish = 'insert');
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA owned WITH (publish = 'insert');
\endif
\if :has_18
CREATE PUBLICATION since_18 FOR TABLE customers WITH (publish_generated_columns = stored, publish = 'insert');
\endif
COMMENT ON PUBLICATION several IS 'a publication';
CREATE FUNCTION on_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM tg_tag; END $$;
CREATE EVENT TRIGGER on_end ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP INDEX') EXECUTE FUNCTION on_event();
CREATE EVENT TRIGGER "it's ""disabled""" ON sql_drop EXECUTE FUNCTION on_event();
CREATE EVENT TRIGGER always ON table_rewrite EXECUTE FUNCTION on_event();
ALTER EVENT TRIGGER "it's ""disabled""" DISABLE;
ALTER EVENT TRIGGER always ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER on_end IS 'an event trigger';

-- -------------------------------------------------------------------------------------------------- what default privileges have given
SET ROLE dbb_owner;
CREATE TABLE owned.defaults (id serial);
CREATE FUNCTION owned.nobody_elses() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TYPE owned.kind AS ENUM ('a');
RESET ROLE;
CREATE TABLE taken_back (id integer);
REVOKE ALL ON taken_back FROM dbb_reader;
CREATE TABLE given_by_default (id integer);

-- ----------------------------------------------------------------------------------------------------------------- the database's own
-- `pg_dump --create` has them.
SELECT current_database() AS database \gset
COMMENT ON DATABASE :"database" IS 'it''s a database';
ALTER DATABASE :"database" CONNECTION LIMIT 77;
ALTER DATABASE :"database" SET work_mem = '5MB';
ALTER DATABASE :"database" SET "app.setting" = 'it''s "one" \ $1';
ALTER ROLE dbb_writer IN DATABASE :"database" SET statement_timeout = '17min';
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO dbb_reader;
GRANT CREATE ON DATABASE :"database" TO dbb_owner WITH GRANT OPTION;

REFRESH MATERIALIZED VIEW sales;
REFRESH MATERIALIZED VIEW best_sales;
ANALYZE customers, indexed;

-- -------------------------------------------------------------------------------------------- what a bare round trip changes by nature
\if :{?by_nature}
-- A child's columns come in another order: first those that its parents have, then its own.
CREATE TABLE mother (a integer);
CREATE TABLE child (own integer) INHERITS (mother);
ALTER TABLE mother ADD COLUMN later text DEFAULT 'x';
INSERT INTO child VALUES (1, 2, 'three');
-- Expressions that are printed otherwise than they were written, and once more otherwise when that is read.
CREATE TABLE printed (state varchar(9) CHECK (state IN ('a', 'b')));
-- Rows find themselves in another partition, where an enum's OIDs decide.
CREATE TABLE scattered (mood mood, n integer) PARTITION BY HASH (mood);
CREATE TABLE scattered_0 PARTITION OF scattered FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE scattered_1 PARTITION OF scattered FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO scattered SELECT (ARRAY['sad', 'it''s ok', 'häppy', ''])[1 + i % 4]::mood, i FROM generate_series(1, 40) i;
\endif
