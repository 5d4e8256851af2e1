/* Found before the compiler's own: each access that another thread could see, or could come
 * between, is a scheduling point. The explorer runs one thread at a time, so it needs no atomics.
 */
#ifndef ZOLAL_EXPLORE_STDATOMIC_H
#define ZOLAL_EXPLORE_STDATOMIC_H

#define memory_order_relaxed 0

void explore_before_load(const void *object);
void explore_after_store(void);

#define atomic_load_explicit(object, order) (explore_before_load(object), (void)(order), *(object))
#define atomic_store_explicit(object, value, order) \
    ((void)(order), (void)(*(object) = (value)), explore_after_store())

#endif
