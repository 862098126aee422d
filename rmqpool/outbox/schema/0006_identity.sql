-- An id may come twice: after a fail-over to a standby that lagged, a restored copy, or TRUNCATE ... RESTART IDENTITY.
-- Together with the message's own id it is one row for good.
DO $rmqpool$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT conrelid::regclass AS name, conname FROM pg_constraint
        WHERE contype = 'p' AND conrelid IN ({dead_literal}::regclass, {held_literal}::regclass)
    LOOP
        EXECUTE 'ALTER TABLE ' || one.name || ' DROP CONSTRAINT ' || quote_ident(one.conname)
            || ', ADD PRIMARY KEY (id, message_id)';
    END LOOP;
END
$rmqpool$;
