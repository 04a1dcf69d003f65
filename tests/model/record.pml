/*
 * Locks of nfslock:, for spin(1): may anybody ever remove a lock that is not the one
 * it means to?
 *
 * A lock is removed by two rights.  Where a hold has a record, by renaming that, as
 * in claim.pml.  Where it has none (one of Core_unix's, or somebody has removed the
 * record) by the flock(2) of the lock file.  What claim.pml leaves open is how the
 * two go together: a look that finds no record may have missed one that was just
 * being renamed, since to read a folder is no single moment (lib/nfslock-break.c).
 *
 * Each step is what one system call does.  A hold is a number that is never used
 * again, as its inode and time are together; `lock` is the hold whose file has the
 * lock's name, 0: none.  record[hold] is NAME, RIGHT(who), or GONE.
 *
 * With STEAL, who breaks by force takes the right from one that lives, too; with
 * TRUST, a look that finds no record is believed.  In both spin has to find that a
 * wrong lock is removed.
 */
#define PROCESSES 3
/* How often each removes, if there is something to be removed, and acquires. */
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define HOLDS (PROCESSES * ROUNDS + 1)

#define GONE 0
#define NAME 1
#define RIGHT(who) (10 + (who))
#define IS_RIGHT(state) (state >= 10)
#define WHO(state) (state - 10)

#ifdef STEAL
#define MAY_STEAL true
#else
#define MAY_STEAL false
#endif
#ifdef TRUST
#define LOOKS_AGAIN false
#else
#define LOOKS_AGAIN true
#endif

byte lock;
byte record[HOLDS];
byte holder[HOLDS];
byte flocked[HOLDS]; /* 0: nobody */
bool dead[PROCESSES + 1];
byte last;        /* hold */
bool was_removed; /* a record, by a person: once */

/* unlink(lock), by who means that hold. */
#define UNLINK_LOCK(hold)                                                      \
	atomic {                                                               \
		assert(lock == hold || lock == 0);                             \
		lock = 0                                                       \
	}

#define UNFLOCK(hold)                                                          \
	if                                                                     \
	:: flocked[hold] == me -> flocked[hold] = 0                            \
	:: else                                                                \
	fi

/* The kernel gives back a flock. */
#define MAY_DIE(hold)                                                          \
	if                                                                     \
	:: atomic {                                                            \
		dead[me] = true;                                               \
		UNFLOCK(hold)                                                  \
	   };                                                                  \
	   goto end                                                            \
	:: skip                                                                \
	fi

/* stat(record), then readdir: what is renamed meanwhile may be missed, or found
 * under either name. */
#define FIND_RECORD(hold, seen)                                                \
	seen = record[hold];                                                   \
	if                                                                     \
	:: seen == NAME                                                        \
	:: else ->                                                             \
		seen = record[hold];                                           \
		atomic {                                                       \
			if                                                     \
			:: seen == record[hold]                                \
			:: seen != record[hold]                                \
			:: seen != record[hold] -> seen = record[hold]         \
			:: seen != record[hold] -> seen = GONE                 \
			fi;                                                    \
			if /* its old name is none of a right */               \
			:: seen == NAME -> seen = GONE                         \
			:: else                                                \
			fi                                                     \
		}                                                              \
	fi

/* With the right: is the lock's name still that of the hold?  Then it is removed;
 * then the right.  What fails is given back. */
#define UNLOCK(hold)                                                           \
	MAY_DIE(hold);                                                         \
	if                                                                     \
	:: lock == hold ->                                                     \
		if                                                             \
		:: UNLINK_LOCK(hold);                                          \
		   MAY_DIE(hold);                                              \
		   record[hold] = GONE                                         \
		:: record[hold] = NAME /* an error of unlink(2) */             \
		fi                                                             \
	:: else -> record[hold] = GONE                                         \
	fi

/* Without a record; in the hands of who has the flock. */
#define REMOVE_BY_FLOCK(hold)                                                  \
	seen = GONE;                                                           \
	if                                                                     \
	:: LOOKS_AGAIN ->                                                      \
		FIND_RECORD(hold, seen);                                       \
		if                                                             \
		:: seen == GONE ->                                             \
			FIND_RECORD(hold, seen)                                \
		:: else                                                        \
		fi                                                             \
	:: else                                                                \
	fi;                                                                    \
	if                                                                     \
	:: seen == GONE && lock == hold ->                                     \
		MAY_DIE(hold);                                                 \
		UNLINK_LOCK(hold)                                              \
	:: else                                                                \
	fi

/* Opens the lock's name, locks what it has opened, looks again. */
#define FLOCK(hold)                                                            \
	if                                                                     \
	:: atomic { flocked[hold] == 0 -> flocked[hold] = me }                 \
	:: flocked[hold] != 0                                                  \
	fi

/* By who means `hold`, which had the lock's name. */
#define REMOVE(hold, force)                                                    \
	FIND_RECORD(hold, seen);                                               \
	if                                                                     \
	:: seen == GONE && lock != hold -> skip /* it was released */          \
	:: IS_RIGHT(seen) && !dead[WHO(seen)] && !(force && MAY_STEAL)         \
	:: !IS_RIGHT(seen) && !dead[holder[hold]] && !force                    \
	:: else ->                                                             \
		FLOCK(hold);                                                   \
		if                                                             \
		:: flocked[hold] == me && lock != hold                         \
		:: flocked[hold] != me &&                                      \
		   (!force || IS_RIGHT(seen) || seen == GONE)                  \
		:: else ->                                                     \
			if                                                     \
			:: seen == GONE ->                                     \
				REMOVE_BY_FLOCK(hold)                          \
			:: else ->                                             \
				atomic {                                       \
					if                                     \
					:: record[hold] == seen ->             \
						record[hold] = RIGHT(me)       \
					:: else -> seen = GONE                 \
					fi                                     \
				}                                              \
				if                                             \
				:: seen != GONE ->                             \
					UNLOCK(hold)                           \
				:: else                                        \
				fi                                             \
			fi                                                     \
		fi;                                                            \
		UNFLOCK(hold)                                                  \
	fi

proctype process(byte me)
{
	byte hold, seen, round;
	bool force;

	do
	:: round == ROUNDS -> break
	:: round < ROUNDS ->
		round++;
		hold = lock;
		if
		:: hold != 0 && holder[hold] != me ->
			if
			:: force = true
			:: force = false
			fi;
			REMOVE(hold, force);
			force = false
		:: else
		fi;
		if
		:: atomic { /* link(claim, lock) */
			lock == 0 ->
			last++;
			hold = last;
			holder[hold] = me;
			record[hold] = NAME;
			lock = hold
		   }
		   if
		   :: atomic {
			!was_removed && record[hold] == NAME ->
			was_removed = true;
			record[hold] = GONE
		      }
		   :: skip
		   fi;
		   MAY_DIE(hold);
		   atomic { /* rename(record, right) */
			if
			:: record[hold] == NAME ->
				record[hold] = RIGHT(me);
				seen = NAME
			:: else -> seen = GONE
			fi
		   }
		   if
		   :: seen == NAME ->
			UNLOCK(hold)
		   :: seen == GONE && lock == hold ->
			/* As of one whose holder is gone: by the flock. */
			FIND_RECORD(hold, seen);
			if
			:: seen == GONE && lock == hold ->
				FLOCK(hold);
				if
				:: flocked[hold] == me && lock == hold ->
					REMOVE_BY_FLOCK(hold)
				:: else
				fi;
				UNFLOCK(hold)
			:: else
			fi
		   :: else
		   fi
		:: else
		fi;
		hold = 0;
		seen = 0
	od;
end:
	skip
}

init
{
	atomic {
		byte i = 1;
		do
		:: i > PROCESSES -> break
		:: else -> run process(i); i++
		od
	}
}
