    IF ctx IS NULL OR ctx = '' THEN
        RETURN /*unset*/;
    END IF;
    raw := convert_to(ctx, 'UTF8');
    SELECT k.ipad, k.opad INTO inner_pad, outer_pad FROM isocore.key k
        WHERE k.kid = encode(substr(raw, 3, 8), 'escape') AND k.not_after > clock_timestamp();
    IF (convert_to(encode(sha256(outer_pad || sha256(inner_pad || 'isocore.ctx.v1'::bytea || substr(raw, 3, 72)
            || convert_to(encode(sha256(substr(raw, 171)), 'hex') || encode(int4send(pg_backend_pid())
                || timestamptz_send(pg_postmaster_start_time()), 'hex'), 'UTF8')
            || substr(raw, 75, 32))), 'hex'), 'UTF8') = substr(raw, 107, 64)
        AND substr(raw, 1, 2) = 'v1'::bytea AND octet_length(raw) <= 682
        AND substr(raw, 11, 32) <> '00000000000000000000000000000000'::bytea
        AND substr(raw, 75, 16) >= convert_to(encode(timestamptz_send(transaction_timestamp() - interval '2 seconds'), 'hex'), 'UTF8')
        AND substr(raw, 75, 16) <= convert_to(encode(timestamptz_send(transaction_timestamp() + interval '2 seconds'), 'hex'), 'UTF8')
        AND substr(raw, 91, 16) > convert_to(encode(timestamptz_send(clock_timestamp()), 'hex'), 'UTF8')) IS NOT TRUE THEN
        RAISE EXCEPTION 'isocore: the tenant context is not valid' USING ERRCODE = '42501';
    END IF;
