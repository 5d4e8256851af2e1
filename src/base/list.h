/* An intrusive, circular, doubly linked list. A node lives inside the thing that is listed; a list
 * head is a node of its own. An unlinked node points to itself. Operations take constant time
 * unless they say otherwise. */
#ifndef ZOLAL_BASE_LIST_H
#define ZOLAL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *previous;
};

/* The struct of `type` whose member `member` is `*node`. */
#define list_entry(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

static inline void list_init(struct list *node)
{
    node->next = node;
    node->previous = node;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

/* Is the node on a list? */
static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

/* Take the node off its list, if it is on one; it can be linked again. */
static inline void list_unlink(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

/* Put an unlinked node at the end. */
static inline void list_append(struct list *head, struct list *node)
{
    node->previous = head->previous;
    node->next = head;
    head->previous->next = node;
    head->previous = node;
}

/* Put an unlinked node at the front. */
static inline void list_prepend(struct list *head, struct list *node)
{
    list_append(head->next, node);
}

/* The first node, taken off the list, or NULL when the list is empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return NULL;
    list_unlink(node);
    return node;
}

/* Take the nodes of `from` to the end of `to`, so that what is appended to `from` meanwhile is left
 * for another time. Takes time for each node. */
static inline void list_take_all(struct list *from, struct list *to)
{
    struct list *node;
    while ((node = list_pop(from)))
        list_append(to, node);
}

#endif
