select down_us, up_us from pg_mshare_flip();
