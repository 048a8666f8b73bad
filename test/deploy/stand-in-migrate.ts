/** Stands where a checkout has relay-migrate: the databases of stand-ins need no tables. */
if (process.argv[2] !== 'run') throw new Error(`the launcher ran relay-migrate ${process.argv.slice(2).join(' ')}`)
